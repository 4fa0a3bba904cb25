/** Host folders in the hands of the real agent, which runs as a process of this host. */
import { chmodSync, linkSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { inject, injectedTree } from '../../src/executor/inject/index.ts';
import type { GuestChannel, GuestFiles } from '../../src/guest/index.ts';
import { RealAgent } from '../guest/real-agent.ts';
import { Git } from './git.ts';
import { emptyFolder, readTree, tree, writeTree } from './host-tree.ts';

let host: string;

beforeEach(() => {
  host = mkdtempSync(join(tmpdir(), 'inject-'));
});

afterEach(() => rmSync(host, { recursive: true }));

const failure = (code: string, details?: object) =>
  expect.objectContaining({ code, ...(details && { details: expect.objectContaining(details) }) });

let agent: RealAgent;
let guest: GuestChannel;
let git: Git;
let to: string;

beforeAll(async () => {
  git = new Git();
  agent = new RealAgent();
  guest = await agent.connect('stale');
});
afterAll(async () => {
  git[Symbol.dispose]();
  await guest[Symbol.asyncDispose]();
  await agent[Symbol.asyncDispose]();
});
beforeEach(() => {
  to = join(agent.dir, 'to');
  emptyFolder(to);
});

/** Root would own the copies, and only root can give them away. */
const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

test('a tree arrives as it is, and is the one that was told of', async () => {
  await fc.assert(
    fc.asyncProperty(tree, async (tree) => {
      for (const at of [host, to]) emptyFolder(at);
      writeTree(host, tree);
      const sent = await inject(guest.files, { from: host, to, owner, ignore: 'nothing' });
      expect(readTree(to)).toEqual(readTree(host));
      expect(sent).toEqual(await injectedTree({ from: host, to, ignore: 'nothing' }));
      expect((await injectedTree({ from: to, to, ignore: 'nothing' })).digest).toBe(sent.digest);
    }),
    { numRuns: 60 },
  );
});

const rules = fc.constantFrom(undefined, '*.o\n', 'a/\n', '/b\n!a\n', '.hidden\nü\n');

test('a mirror is the folder, and of what was there before just what the rules leave out', async () => {
  await fc.assert(
    fc.asyncProperty(tree, tree, rules, async (folder, before, rules) => {
      for (const at of [host, to]) emptyFolder(at);
      writeTree(host, folder);
      if (rules !== undefined) writeFileSync(join(host, '.gitignore'), rules);
      writeTree(to, before);
      const ignored = ignoredByGit(to, rules ?? '');
      const stay = new Map(
        [...readTree(to)].filter(([path]) => ignored.some((at) => path === at || path.startsWith(`${at}/`))),
      );
      const mirror = { from: host, to, owner, mirror: true as const };
      const wanted = new Map(
        (await injectedTree(mirror)).entries.map(({ path }) => [path, readTree(host).get(path)]),
      );
      const there = readTree(to);
      const kindOf = (what = '') => what.split(' ')[0];
      for (const path of stay.keys()) {
        // What stays keeps its directories; where the folder has something else in their place, neither can be right.
        for (let up = path; up !== '.'; up = dirname(up)) {
          if (!wanted.has(up)) wanted.set(up, there.get(up));
          if (kindOf(wanted.get(up)) === kindOf(there.get(up))) continue;
          const refused = failure('GuestFile', { errno: 'EEXIST' });
          await expect(inject(guest.files, mirror)).rejects.toThrow(refused);
          return;
        }
      }
      await inject(guest.files, mirror);
      expect(new Map([...readTree(to)].sort())).toEqual(new Map([...wanted].sort()));
    }),
    { numRuns: 150 },
  );
});

/** Paths below a folder that rules leave out. */
function ignoredByGit(folder: string, rules: string): string[] {
  const paths = [...readTree(folder)].map(([path, what]) =>
    what.startsWith('directory') ? `${path}/` : path,
  );
  return git.ignored(folder, rules, paths).map((path) => path.replace(/\/$/, ''));
}

test('a directory with something in it is in the way of a file, and a mirror removes it', async () => {
  mkdirSync(join(to, 'sub/x'), { recursive: true });
  writeFileSync(join(to, 'sub/x/file'), '');
  mkdirSync(join(host, 'sub'));
  writeFileSync(join(host, 'sub/x'), 'now a file');
  await expect(inject(guest.files, { from: host, to, owner })).rejects.toThrow(
    expect.objectContaining({
      code: 'GuestFile',
      message: expect.stringContaining('sub/x'),
      remedy: expect.stringContaining('mirror'),
    }),
  );
  await inject(guest.files, { from: host, to, owner, mirror: true });
  expect(readTree(to)).toEqual(readTree(host));
});

test('a file with two names becomes two files, for each is changed by itself', async () => {
  writeFileSync(join(host, 'a'), 'text');
  linkSync(join(host, 'a'), join(host, 'b'));
  const linked = await inject(guest.files, { from: host, to, owner });
  expect(statSync(join(to, 'a')).ino).not.toBe(statSync(join(to, 'b')).ino);
  rmSync(join(host, 'b'));
  writeFileSync(join(host, 'b'), 'text');
  expect((await injectedTree({ from: host, to })).digest).toBe(linked.digest);
});

test('the folder itself is made with mode 755, whatever mode it has on the host', async () => {
  chmodSync(host, 0o700);
  const sent = await inject(guest.files, { from: host, to: join(to, 'new/folder'), owner });
  expect(statSync(join(to, 'new/folder')).mode & 0o7777).toBe(0o755);
  expect(sent.entries).toEqual([]);
});

test('what is told is what was sent, when a file changes meanwhile', async () => {
  const large = join(host, 'z');
  for (let index = 0; index < 40; index++) writeFileSync(join(host, `f${index}`), 'x'.repeat(60_000));
  writeFileSync(large, 'x'.repeat(5_000_000));
  const before = await injectedTree({ from: host, to });
  let written = false;
  const files = withTarIn(guest.files, (path, tar, options) => {
    const changing = async function* () {
      for await (const chunk of tar) {
        if (!written) writeFileSync(large, 'y'.repeat(4_000_000));
        written = true;
        yield chunk;
      }
    };
    return guest.files.tarIn(path, changing(), options);
  });
  const sent = await inject(files, { from: host, to, owner });
  expect(sent.digest).not.toBe(before.digest);
  expect((await injectedTree({ from: to, to })).digest).toBe(sent.digest);
});

test('what vanishes from the folder after the guest was cleared for it is gone in the guest, too', async () => {
  for (let index = 10; index < 40; index++) writeFileSync(join(host, `f${index}`), 'text');
  const mirror = { from: host, to, owner, mirror: true as const };
  await inject(guest.files, mirror);
  const files = withTarIn(guest.files, (...call) => {
    rmSync(join(host, 'f39'));
    return guest.files.tarIn(...call);
  });
  const sent = await inject(files, mirror);
  expect(sent.entries).toHaveLength(29);
  expect(readTree(to)).toEqual(readTree(host));
});

test('it can be cancelled, and leaves the guest able to go on', async () => {
  for (let index = 0; index < 300; index++) writeFileSync(join(host, `f${index}`), 'x'.repeat(60_000));
  const controller = new AbortController();
  const injecting = inject(
    guest.files,
    { from: host, to, owner, mirror: true },
    {
      signal: controller.signal,
      onProgress: (step) => step.startsWith('copying') && setImmediate(() => controller.abort()),
    },
  );
  await expect(injecting).rejects.toThrow(failure('Cancelled'));
  await inject(guest.files, { from: host, to, owner, mirror: true });
  expect(readTree(to)).toEqual(readTree(host));
});

/** The same files, but for one call. */
function withTarIn(files: GuestFiles, tarIn: GuestFiles['tarIn']): GuestFiles {
  return new Proxy(files, {
    get: (target, name) => {
      if (name === 'tarIn') return tarIn;
      const member = Reflect.get(target, name);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}
