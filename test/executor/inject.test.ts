/** Host folders in guests: the memory backend's, and the real agent's, which runs as a process of this host. */
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { inject, injectedTree } from '../../src/executor/inject/index.ts';
import type { GuestChannel, GuestFiles } from '../../src/guest/index.ts';
import { RealAgent } from '../guest/real-agent.ts';
import { openFixture } from '../vm/runtime-fixture.ts';
import { Git } from './git.ts';
import { emptyFolder, readTree, tree, writeTree } from './host-tree.ts';

let host: string;

beforeEach(() => {
  host = mkdtempSync(join(tmpdir(), 'inject-'));
});

afterEach(() => rmSync(host, { recursive: true }));

const failure = (code: string, details?: object) =>
  expect.objectContaining({ code, ...(details && { details: expect.objectContaining(details) }) });

describe('the digest of a tree', () => {
  const digestOf = async (from: string) =>
    (await injectedTree({ from, to: '/src', ignore: 'nothing' })).digest;

  test('is the same whatever the times, the order of creation and the path of the folder', async () => {
    await fc.assert(
      fc.asyncProperty(tree, async (tree) => {
        const [one, other] = [join(host, 'one'), join(host, 'some/where/else')];
        for (const at of [one, other]) emptyFolder(at);
        writeTree(one, tree);
        writeTree(other, tree, { reverse: true });
        for (const path of readTree(other).keys()) utimes(join(other, path));
        expect(await digestOf(other)).toBe(await digestOf(one));
      }),
      { numRuns: 50 },
    );
  });

  test('is another one for any other name, kind, content, mode or target', async () => {
    await fc.assert(
      fc.asyncProperty(tree, tree, async (before, after) => {
        const [one, other] = [join(host, 'one'), join(host, 'other')];
        for (const at of [one, other]) emptyFolder(at);
        writeTree(one, before);
        writeTree(other, after);
        const same = JSON.stringify([...readTree(one)]) === JSON.stringify([...readTree(other)]);
        expect((await digestOf(one)) === (await digestOf(other))).toBe(same);
      }),
      { numRuns: 100 },
    );
  });

  test.each<[string, () => void]>([
    ['content', () => writeFileSync(join(host, 'dir/file'), 'other')],
    ['mode', () => chmodSync(join(host, 'dir/file'), 0o755)],
    ['mode of a directory', () => chmodSync(join(host, 'dir'), 0o700)],
    ['name', () => renameSync(join(host, 'dir/file'), join(host, 'dir/file2'))],
    ['place', () => renameSync(join(host, 'dir/file'), join(host, 'file'))],
    [
      'target',
      () => {
        rmSync(join(host, 'link'));
        symlinkSync('dir', join(host, 'link'));
      },
    ],
    [
      'kind',
      () => {
        rmSync(join(host, 'link'));
        writeFileSync(join(host, 'link'), 'dir/file');
      },
    ],
    ['empty folder', () => mkdirSync(join(host, 'dir/empty'))],
  ])('is another one for another %s alone', async (_what, change) => {
    writeTree(host, {
      dir: { mode: 0o755, children: { file: { mode: 0o644, text: 'text' } } },
      link: { mode: 0o777, target: 'dir/file' },
    });
    const before = await digestOf(host);
    change();
    expect(await digestOf(host)).not.toBe(before);
  });
});

test.each([
  [{ to: 'src' }, 'InvalidInput'],
  [{ to: '' }, 'InvalidInput'],
  [{ to: '/a\0b' }, 'InvalidInput'],
  [{ to: '/', mirror: true as const }, 'InvalidInput'],
  [{ to: '/x/..', mirror: true as const }, 'InvalidInput'],
  [{ from: '/no/such/folder' }, 'HostFile'],
  [{ from: '/etc/passwd' }, 'HostFile'],
])('%j is refused before anything happens', async (change, code) => {
  const injection = { from: host, to: '/src', ...change };
  await expect(injectedTree(injection)).rejects.toThrow(failure(code));
  await using fixture = await openFixture();
  await fixture.runtime.create({ id: 'vm', image: 'builtin' });
  await fixture.runtime.start('vm');
  const { files } = await fixture.runtime.guest('vm');
  await expect(inject(files, injection)).rejects.toThrow(failure(code));
});

test('a folder comes into a guest, without what .gitignore leaves out, and what was sent is told', async () => {
  await using fixture = await openFixture();
  const { runtime } = fixture;
  await runtime.create({ id: 'vm', image: 'builtin' });
  await runtime.start('vm');
  const { files } = await runtime.guest('vm');
  writeTree(host, {
    '.git': { mode: 0o755, children: { HEAD: { mode: 0o644, text: 'ref' } } },
    '.gitignore': { mode: 0o644, text: '*.o\n' },
    'main.c': { mode: 0o600, text: 'int main;' },
    'main.o': { mode: 0o644, text: 'object' },
    empty: { mode: 0o755, children: {} },
    link: { mode: 0o777, target: 'main.c' },
  });
  const doing: string[] = [];
  const sent = await inject(files, { from: host, to: '/src/' }, { onProgress: (step) => doing.push(step) });
  expect(sent).toEqual(await injectedTree({ from: host, to: '/src' }));
  expect(sent).toMatchObject({ to: '/src', digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) });
  expect(sent.entries.map(({ path }) => path)).toEqual(['.gitignore', 'empty', 'link', 'main.c']);
  expect(await namesIn(files, '/src')).toEqual(['.gitignore', 'empty', 'link', 'main.c']);
  expect(await files.stat('/src/main.c')).toMatchObject({
    kind: 'file',
    mode: 0o600,
    size: 9,
    uid: 0,
    gid: 0,
  });
  expect(await files.stat('/src/link')).toMatchObject({ kind: 'symlink', target: 'main.c' });
  expect(doing).toEqual([`copying ${host} to /src`]);

  const all = await inject(files, { from: host, to: '/all', ignore: 'nothing', owner: { uid: 5, gid: 6 } });
  expect(all.entries.map(({ path }) => path)).toEqual(['.gitignore', 'empty', 'link', 'main.c', 'main.o']);
  expect(await files.stat('/all/main.o')).toMatchObject({ uid: 5, gid: 6 });
});

test('deleted files kept by inject: a mirror removes them, and leaves alone what the rules leave out', async () => {
  await using fixture = await openFixture();
  const { runtime } = fixture;
  await runtime.create({ id: 'vm', image: 'builtin' });
  await runtime.start('vm');
  const { files } = await runtime.guest('vm');
  writeTree(host, {
    '.gitignore': { mode: 0o644, text: '*.o\ncache/\n' },
    kept: { mode: 0o644, text: '' },
    gone: { mode: 0o644, text: '' },
    dir: { mode: 0o755, children: { gone: { mode: 0o644, text: '' } } },
  });
  const injection = { from: host, to: '/src', mirror: true as const };
  const first = await inject(files, injection);
  await files.write('/src/built.o', 'object');
  await files.mkdir('/src/cache/deep', { parents: true });
  await files.write('/src/cache/deep/x', '');
  await files.write('/src/stray', '');
  rmSync(join(host, 'gone'));
  rmSync(join(host, 'dir'), { recursive: true });
  expect(await inject(files, injection)).toEqual(await injectedTree(injection));
  expect(await namesIn(files, '/src')).toEqual(['.gitignore', 'built.o', 'cache', 'kept']);
  expect(await namesIn(files, '/src/cache/deep')).toEqual(['x']);
  expect(await namesIn(files, '/src/cache')).toEqual(['deep']);
  // The rules decide what a mirror keeps, so they are among what it depends on.
  expect(first.rules).toMatch(/^[0-9a-f]{64}$/);
  writeFileSync(join(host, '.gitignore'), '*.o\n');
  expect((await injectedTree(injection)).rules).not.toBe(first.rules);
});

async function namesIn(files: GuestFiles, path: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { path: at } of files.list(path)) names.push(at.slice(at.lastIndexOf('/') + 1));
  return names;
}

describe('with the real agent', () => {
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
          [...readTree(to)].filter(([path]) =>
            ignored.some((at) => path === at || path.startsWith(`${at}/`)),
          ),
        );
        const mirror = { from: host, to, owner, mirror: true as const };
        const wanted = new Map(
          (await injectedTree(mirror)).entries.map(({ path }) => [path, readTree(host).get(path)]),
        );
        for (const path of stay.keys()) {
          // A directory of the guest stays for what is in it; a file of the folder where it is in the way of that.
          for (let up = dirname(path); up !== '.'; up = dirname(up)) {
            const there = wanted.get(up);
            if (there !== undefined && !there.startsWith('directory')) {
              const refused = failure('GuestFile', { errno: 'ENOTEMPTY' });
              await expect(inject(guest.files, mirror)).rejects.toThrow(refused);
              return;
            }
            if (there === undefined) wanted.set(up, readTree(to).get(up));
          }
        }
        await inject(guest.files, mirror);
        expect(new Map([...readTree(to)].sort())).toEqual(new Map([...wanted, ...stay].sort()));
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

function utimes(path: string): void {
  try {
    utimesSync(path, 1, 1);
  } catch {
    // A link that leads nowhere.
  }
}
