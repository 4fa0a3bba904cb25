/** What goes through the real agent's tars, both ways, and beside GNU tar: what backups of sessions are made of. */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { pack } from 'tar-stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { RealAgent } from '../../test/guest/real-agent.ts';
import { copyOut } from './copy.ts';
import type { GuestChannel } from './guest-channel.ts';

let agent: RealAgent;
let guest: GuestChannel;
let dirs = 0;

beforeAll(() => {
  agent = new RealAgent();
});
afterAll(() => agent[Symbol.asyncDispose]());
beforeEach(async () => {
  guest = await agent.connect('stale');
});
afterEach(() => guest[Symbol.asyncDispose]());

const newPath = () => join(agent.dir, `tree-${++dirs}`);
const invalid = expect.objectContaining({ code: 'InvalidInput', details: { field: 'tar' } });
const isRoot = process.getuid?.() === 0;

/** A file of `size` bytes with data at some offsets. */
function writeSparse(path: string, size: number, places: readonly number[], mode = 0o644): void {
  const file = openSync(path, 'wx', mode);
  for (const place of places) writeSync(file, Buffer.alloc(4_096, `${place}`), 0, 4_096, place);
  ftruncateSync(file, size);
  closeSync(file);
}

/** A tree with some of everything that old forms of tar can say too. */
function plantPlain(dir: string): void {
  mkdirSync(join(dir, 'sub/empty'), { recursive: true });
  writeFileSync(join(dir, 'sub/file'), 'content\n');
  writeFileSync(join(dir, 'empty-file'), '');
  writeFileSync(join(dir, 'block'), Buffer.alloc(512, 'b'));
  linkSync(join(dir, 'sub/file'), join(dir, 'hard'));
  symlinkSync('sub/file', join(dir, 'link'));
  symlinkSync('no/such/place', join(dir, 'dangling'));
  symlinkSync('/etc/shadow', join(dir, 'shadow'));
  chmodSync(join(dir, 'sub/file'), 0o4751);
  chmodSync(join(dir, 'sub/empty'), 0o1777);
  chmodSync(join(dir, 'block'), 0o000);
  if (isRoot) chownSync(join(dir, 'block'), 1_234, 56_789);
  settle(dir, 1_500_000_000);
}

/** … and what only pax says exactly. */
function plantAll(dir: string): void {
  plantPlain(dir);
  execFileSync('mkfifo', [join(dir, 'fifo')]);
  const odd = Buffer.concat([Buffer.from(`${dir}/`), Buffer.from([0xff, 0x0a, 0xc3, 0x28])]);
  writeFileSync(odd, 'odd');
  mkdirSync(join(dir, 'a\nnew line'));
  writeFileSync(join(dir, 'a\nnew line', 'n'.repeat(255)), 'long');
  writeFileSync(Buffer.concat([Buffer.from(`${dir}/a\nnew line/`), Buffer.alloc(200, 0xfe)]), 'long and odd');
  symlinkSync('t'.repeat(1_000), join(dir, 'long-link'));
  if (isRoot) chownSync(odd, 3_000_000_000, 2_500_000_000);
  writeSparse(join(dir, 'sparse'), 2 ** 31, [0, 2 ** 20, 2 ** 30]);
  writeSparse(join(dir, 'sparse-end'), 2 ** 20 + 4_096, [2 ** 20]);
  writeSparse(join(dir, 's'.repeat(120)), 1_000_001, [8_192], 0o600);
  writeSparse(join(dir, 'hole'), 12_345_678, []);
  settle(dir, 1_600_000_000.123_456);
  lutimesSync(join(dir, 'link'), 1_400_000_000.25, 1_400_000_000.25);
  utimesSync(join(dir, 'sub/file'), -1_000.5, -1_000.5);
}

/** Gives everything below a directory, and it, a time. */
function settle(dir: string, seconds: number): void {
  for (const { path } of walk(Buffer.from(dir)).reverse()) lutimesSync(path, seconds, seconds);
}

function walk(dir: Buffer, name = ''): { path: Buffer; name: string }[] {
  const found = [{ path: dir, name }];
  if (!lstatSync(dir).isDirectory()) return found;
  for (const entry of readdirSync(dir, { encoding: 'buffer' }).sort(Buffer.compare)) {
    found.push(...walk(Buffer.concat([dir, Buffer.from('/'), entry]), `${name}/${entry.toString('latin1')}`));
  }
  return found;
}

type Precision = 'nanoseconds' | 'seconds';

/** Everything there is to see of a tree, by name. */
function describeTree(dir: string, precision: Precision = 'nanoseconds'): Record<string, object> {
  const first = new Map<bigint, string>();
  const entries = walk(Buffer.from(dir)).map(({ path, name }) => {
    const stats = lstatSync(path, { bigint: true });
    if (!first.has(stats.ino)) first.set(stats.ino, name);
    const isFile = stats.isFile();
    return [
      name,
      {
        mode: stats.mode.toString(8),
        owner: `${stats.uid}:${stats.gid}`,
        mtime: precision === 'seconds' ? stats.mtimeMs / 1_000n : stats.mtimeNs,
        links: stats.isDirectory() ? undefined : stats.nlink,
        sameAs: first.get(stats.ino),
        ...(isFile && { size: stats.size, blocks: stats.blocks, bytes: digest(path) }),
        ...(stats.isSymbolicLink() && { target: readlinkSync(path, 'latin1') }),
      },
    ] as const;
  });
  return Object.fromEntries(entries);
}

/** Of the first and the last 16 MiB: the middle of the largest is a hole. */
function digest(path: Buffer): string {
  const { size } = statSync(path);
  const hash = createHash('sha256');
  if (size <= 2 ** 25) return hash.update(readFileSync(path)).digest('hex');
  return hash
    .update(execFileSync('head', ['-c', '16777216', path.toString('latin1')], { maxBuffer: 2 ** 25 }))
    .update(execFileSync('tail', ['-c', '16777216', path.toString('latin1')], { maxBuffer: 2 ** 25 }))
    .digest('hex');
}

/** Runs GNU tar; resolves with nothing, so that the caller reads what is wanted of it. */
function gnuTar(...args: string[]) {
  const child = spawn('tar', args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const done = new Promise<void>((resolve, reject) => {
    child.on('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`tar ${args.join(' ')}: ${errors}`)),
    );
  });
  return { stdin: child.stdin, stdout: child.stdout, done };
}

async function gnuUnpack(tar: AsyncIterable<Uint8Array>, into: string): Promise<void> {
  mkdirSync(into);
  const { stdin, done } = gnuTar('--xattrs', '--xattrs-include=*', '-xpf', '-', '-C', into);
  for await (const chunk of tar) {
    if (!stdin.write(chunk)) await new Promise((resolve) => stdin.once('drain', resolve));
  }
  stdin.end();
  await done;
}

async function gnuPackInto(from: string, to: string, ...args: string[]): Promise<void> {
  const { stdout, done } = gnuTar(...args, '-C', from, '-cf', '-', '.');
  await guest.files.tarIn(to, stdout, { devices: 'refuse' });
  await done;
}

async function digestOf(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of stream) hash.update(chunk);
  return hash.digest('hex');
}

async function* archive(
  entries: (tar: ReturnType<typeof pack>) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const tar = pack();
  entries(tar);
  tar.finalize();
  for await (const chunk of tar) yield chunk as Uint8Array;
}

describe('a tree', () => {
  test('is the same after a way out and in', async () => {
    const [from, to] = [newPath(), newPath()];
    plantAll(from);
    await guest.files.tarIn(to, guest.files.tarOut(from), { devices: 'refuse' });
    expect(describeTree(to)).toEqual(describeTree(from));
    expect(await digestOf(guest.files.tarOut(to))).toBe(await digestOf(guest.files.tarOut(from)));
  });

  test('is the same when GNU tar unpacks what the agent packed', async () => {
    const [from, to] = [newPath(), newPath()];
    plantAll(from);
    await gnuUnpack(guest.files.tarOut(from), to);
    expect(describeTree(to)).toEqual(describeTree(from));
  });

  test.each([
    ['gnu', 'seconds'],
    ['oldgnu', 'seconds'],
    ['pax', 'nanoseconds'],
  ] as const)('of everything is the same when GNU tar packed it as %s', async (format, precision) => {
    const [from, to] = [newPath(), newPath()];
    plantAll(from);
    await gnuPackInto(from, to, `--format=${format}`, '--sparse', '--label=by hand');
    expect(describeTree(to, precision)).toEqual(describeTree(from, precision));
  });

  test.each(['0.0', '0.1', '1.0'])('is the same from pax with sparse files as of %s', async (version) => {
    const [from, to] = [newPath(), newPath()];
    plantAll(from);
    await gnuPackInto(from, to, '--format=pax', '--sparse', `--sparse-version=${version}`);
    expect(describeTree(to)).toEqual(describeTree(from));
  });

  test.each(['ustar', 'v7', 'gnu'])(
    'of what the oldest forms can say is the same from %s',
    async (format) => {
      const [from, to] = [newPath(), newPath()];
      plantPlain(from);
      await gnuPackInto(from, to, `--format=${format}`);
      expect(describeTree(to, 'seconds')).toEqual(describeTree(from, 'seconds'));
    },
  );

  test('takes what a global header says of all files', async () => {
    const [from, to] = [newPath(), newPath()];
    mkdirSync(from);
    writeFileSync(join(from, 'file'), 'x');
    settle(from, 1_000_000_000);
    await gnuPackInto(from, to, '--format=pax', '--pax-option=mtime=1234567890.5');
    expect(statSync(join(to, 'file')).mtimeMs).toBe(1_234_567_890_500);
  });

  test('with files of many extents is the same, whoever packs them', async () => {
    const [from, back, byHand, out] = [newPath(), newPath(), newPath(), newPath()];
    mkdirSync(from);
    const places = Array.from({ length: 3_000 }, (_, index) => index * 16_384);
    writeSparse(join(from, 'many'), 2 ** 26, places);
    settle(from, 1_500_000_000);
    await guest.files.tarIn(back, guest.files.tarOut(from));
    await gnuPackInto(from, byHand, '--format=gnu', '--sparse');
    await gnuUnpack(guest.files.tarOut(from), out);
    const expected = describeTree(from);
    expect(describeTree(back)).toEqual(expected);
    expect(describeTree(byHand)).toEqual(expected);
    expect(describeTree(out)).toEqual(expected);
  });

  test('gets its holes on this side too', async () => {
    const [from, to] = [newPath(), newPath()];
    mkdirSync(from);
    writeSparse(join(from, 'sparse'), 2 ** 31 + 5, [4_096, 2 ** 30]);
    writeSparse(join(from, 'hole'), 1_000_000, []);
    await copyOut(guest, from, to);
    for (const name of ['sparse', 'hole']) {
      const [before, after] = [from, to].map((dir) => statSync(join(dir, name)));
      expect([after?.size, after?.blocks]).toEqual([before?.size, before?.blocks]);
    }
    expect(digest(Buffer.from(join(to, 'sparse')))).toBe(digest(Buffer.from(join(from, 'sparse'))));
    expect(readdirSync(to).sort()).toEqual(['hole', 'sparse']);
  });

  test('keeps its attributes with bytes that a record could be mistaken for', async () => {
    const [first, second, third] = [newPath(), newPath(), newPath()];
    const attributes = { 'SCHILY.xattr.user.plain': 'a=b\nc', 'SCHILY.xattr.user.percent%25': '\n12 x=y\n' };
    await guest.files.tarIn(
      first,
      archive((tar) => {
        tar.entry({ name: './', type: 'directory', pax: attributes, mtime: new Date(0) });
        tar.entry({ name: './file', pax: attributes, mtime: new Date(0) }, 'x');
        tar.entry({ name: './plain', mtime: new Date(0) }, 'x');
      }),
    );
    let packed = '';
    for await (const chunk of guest.files.tarOut(first)) packed += Buffer.from(chunk).toString('latin1');
    expect(packed.match(/SCHILY\.xattr\.user\.(plain=a=b\nc|percent%25=\n12 x=y\n)/g)).toHaveLength(4);
    await guest.files.tarIn(second, guest.files.tarOut(first));
    await gnuUnpack(guest.files.tarOut(first), third);
    const expected = await digestOf(guest.files.tarOut(first));
    expect(await digestOf(guest.files.tarOut(second))).toBe(expected);
    expect(await digestOf(guest.files.tarOut(third))).toBe(expected);
  });
});

describe('devices', () => {
  test.each(['character-device', 'block-device'] as const)(
    'are refused when they are to be: a %s',
    async (type) => {
      const to = newPath();
      const tar = () => archive((made) => made.entry({ name: 'device', type, devmajor: 1, devminor: 3 }));
      await expect(guest.files.tarIn(to, tar(), { devices: 'refuse' })).rejects.toThrow(invalid);
      expect(readdirSync(to)).toEqual([]);
    },
  );

  test.runIf(isRoot)('are made otherwise', async () => {
    const to = newPath();
    const tar = archive((made) =>
      made.entry({ name: 'null', type: 'character-device', devmajor: 1, devminor: 3 }),
    );
    await guest.files.tarIn(to, tar);
    expect(lstatSync(join(to, 'null')).isCharacterDevice()).toBe(true);
  });
});

describe('a sparse file that cannot be', () => {
  const records = (map: string, size = '100') => ({ 'GNU.sparse.size': size, 'GNU.sparse.map': map });
  test.each<[string, Record<string, string>, string]>([
    ['has extents that overlap', records('0,4,2,4'), '12345678'],
    ['has extents out of order', records('50,4,0,4'), '12345678'],
    ['has an extent beyond its end', records('98,8'), '12345678'],
    ['has an extent that wraps around', records('18446744073709551615,8'), '12345678'],
    ['has more extents than data', records('0,8,10,8'), '12345678'],
    ['has less extents than data', records('0,4'), '12345678'],
    ['is larger than files are', records('0,8', '18446744073709551615'), '12345678'],
    ['has half an extent', records('0,8,9'), '12345678'],
    ['has a map of no numbers', records('0,-8'), '12345678'],
    [
      'has a map that does not end',
      { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9' },
      '5\n'.repeat(256),
    ],
    [
      'is of a form to come',
      { 'GNU.sparse.major': '2', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9' },
      '1\n',
    ],
  ])('is refused when it %s', async (_name, pax, body) => {
    const tar = archive((made) => made.entry({ name: 'sparse', pax }, body));
    await expect(guest.files.tarIn(newPath(), tar)).rejects.toThrow(invalid);
    await guest.ping();
  });
});
