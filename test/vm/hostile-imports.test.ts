import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { runTool } from '../../src/host/index.ts';
import {
  type Entry,
  putTogether,
  rewrite,
  rewriteJson,
  takeApart,
  withFlippedBits,
} from './archive-surgery.ts';
import { chunksOf, everythingOf, exported, openElsewhere, openOrigin, sha256Of } from './portable-fixture.ts';
import type { RuntimeFixture } from './runtime-fixture.ts';

interface Index {
  snapshots: { manifest: { files: Record<string, { sizeBytes: number; sha256: string }> } }[];
  members: { name: string; sizeBytes: number; sha256: string }[];
}

/** A good archive, and an empty state directory that nothing may change. */
let archive: Buffer;
let elsewhere: RuntimeFixture;
let before: unknown;
beforeAll(async () => {
  await using origin = await openOrigin();
  archive = await exported(origin.runtime, 'vm/s1');
  elsewhere = await openElsewhere();
  before = everythingOf(elsewhere);
});
afterAll(() => elsewhere[Symbol.asyncDispose]());

async function expectRefused(bytes: Uint8Array, expected: object, chunkBytes?: number): Promise<void> {
  const importing = elsewhere.runtime.snapshots.import(chunksOf(bytes, chunkBytes));
  await expect(importing).rejects.toMatchObject({ code: 'ArchiveInvalid', ...expected });
  expect(everythingOf(elsewhere)).toEqual(before);
  expect(readdirSync(join(elsewhere.root, 'tmp'))).toEqual([]);
  expect(elsewhere.warnings).toEqual([]);
}

function withEntries(change: (entries: Entry[]) => void): Buffer {
  const entries = takeApart(zstdDecompressSync(archive));
  change(entries);
  return putTogether(entries);
}

/** Changes the index, and the header before it, as one who makes an archive would. */
function withIndex(change: (index: Index) => unknown): Buffer {
  return withEntries(([first]) => first && rewriteJson<Index>(first, change));
}

/** Puts a value into the index, at a path such as `members/0/name`; `undefined` takes away what is there. */
function put(path: string, value: unknown): Buffer {
  return withIndex((index) => {
    const keys = path.split('/');
    const last = keys.pop() ?? '';
    let at = index as unknown as Record<string, unknown>;
    for (const key of keys) at = at[key] as Record<string, unknown>;
    at[last] = value;
  });
}

/** Calls a snapshot file something else wherever the index speaks of it. */
const renamed = (name: string) =>
  withIndex(({ snapshots: [newest], members: [member] }) => {
    if (!newest || !member) return;
    const { 'disk.json': file, ...others } = newest.manifest.files;
    newest.manifest.files = { ...(file && { [name]: file }), ...others };
    member.name = `snapshots/0/${name}`;
  });

const manifest = 'snapshots/0/manifest';
const blueprint = 'snapshots/0/blueprint';

const indexes: readonly [name: string, make: () => Buffer, says: string][] = [
  ['a file name that leads up', () => renamed('../../../vms/x'), 'manifest.files'],
  ['an absolute file name', () => renamed('/etc/passwd'), 'manifest.files'],
  ['a file name with a folder', () => renamed('a/b'), 'manifest.files'],
  ['the file name ..', () => renamed('..'), 'manifest.files'],
  ['a hidden file name', () => renamed('.x'), 'manifest.files'],
  ['a file name with a NUL', () => renamed('a\0b'), 'manifest.files'],
  ['an endless file name', () => renamed('a'.repeat(300)), 'manifest.files'],
  ['the name of the runtime’s own file', () => renamed('manifest.json'), 'manifest.files'],
  ['a member’s name that is not the file’s', () => put('members/0/name', '../x'), '"../x" in place of'],
  [
    'one member too many',
    () => withIndex(({ members }) => members.push({ name: 'x', sizeBytes: 0, sha256: '0'.repeat(64) })),
    '6 members instead of 5',
  ],
  ['one member too few', () => withIndex(({ members }) => members.pop()), '4 members instead of 5'],
  ['members in another order', () => withIndex(({ members }) => members.reverse()), 'in place of'],
  ['a member of another size than the file', () => put('members/0/sizeBytes', 5), 'contradicts itself'],
  ['a negative size', () => put('members/2/sizeBytes', -1), 'sizeBytes'],
  ['a size that is no number', () => put('members/2/sizeBytes', '1'), 'sizeBytes'],
  [
    'another kernel than the machine’s',
    () => put(`${blueprint}/shape/kernel/kernelDigest`, sha256Of('x')),
    'contradicts itself over kernel',
  ],
  ['a path of a kernel', () => put(`${blueprint}/shape/kernel/kernelPath`, '/etc/passwd'), 'kernelPath'],
  ['another image in its manifest', () => put(`${manifest}/imageDigest`, sha256Of('x')), 'two of one image'],
  ['an image digest that is a path', () => put(`${manifest}/imageDigest`, '../../x'), 'imageDigest'],
  ['an ancestor that it does not have', () => put(`${manifest}/needsParent`, true), 'other ancestors'],
  ['no snapshot', () => withIndex(({ snapshots }) => snapshots.pop()), 'snapshots'],
  ['an id that is a path', () => put('snapshots/0/id', '../x'), 'snapshots.0.id'],
  ['two sizes of one disk', () => put(`${manifest}/shape/diskMiB`, 4), 'two of one disk'],
  ['more memory than can be counted', () => put(`${manifest}/shape/memoryMiB`, 2 ** 52), 'memoryMiB'],
  ['a kernel argument with a line break', () => put(`${blueprint}/shape/bootArgs/0`, 'a\nb'), 'bootArgs'],
  ['a variable that is no text', () => put(`${blueprint}/env/A`, { toString: 1 }), 'env.A'],
  ['a variable of an impossible name', () => put(`${blueprint}/env/A=B`, '1'), 'env'],
  ['a backend that is a path', () => put(`${manifest}/backend`, '../x'), 'backend'],
  ['a field that nobody knows', () => put('extra', 1), 'extra'],
  ['a later version', () => put('version', 3), 'format version 3'],
  ['the version of a set', () => put('version', 2), 'malformed'],
  ['no version', () => put('version', undefined), 'version'],
  ['another format', () => put('format', 'tar'), 'format'],
];

test.each(indexes)('an archive whose index has %s is refused', async (_, make, says) => {
  await expectRefused(make(), {
    message: expect.stringContaining(says),
    details: { problem: 'refused', member: 'alcove-snapshot.json' },
  });
});

test('an archive of a newer Alcove says so', async () => {
  await expectRefused(put('version', 3), {
    remedy: expect.stringContaining('newer'),
  });
});

/** Changes the header of the first file in the archive, and leaves the index as it is. */
const withHeader = (fields: Parameters<typeof rewrite>[1]) =>
  withEntries((entries) => rewrite((entries[1] as Entry).header, fields));

const headers: readonly [name: string, make: () => Buffer, says: string][] = [
  ['another name', () => withHeader({ name: 'snapshots/0/other' }), 'entry "snapshots/0/other"'],
  ['a name that leads out', () => withHeader({ name: '../../x' }), 'entry "../../x"'],
  ['an absolute name', () => withHeader({ name: '/etc/passwd' }), 'entry "/etc/passwd"'],
  ['a symbolic link', () => withHeader({ type: '2', link: '/etc/passwd' }), 'symbolic link'],
  ['a hard link', () => withHeader({ type: '1', link: '/etc/passwd' }), 'hard link'],
  ['a character device', () => withHeader({ type: '3' }), 'device'],
  ['a block device', () => withHeader({ type: '4' }), 'device'],
  ['a folder', () => withHeader({ type: '5' }), 'folder'],
  ['a pipe', () => withHeader({ type: '6' }), 'pipe'],
  ['an extended header', () => withHeader({ type: 'x' }), 'entry'],
  ['a long name', () => withHeader({ type: 'L' }), 'entry'],
  ['another mode', () => withHeader({ mode: '0004755' }), 'entry'],
  [
    'a larger size than listed',
    () => withHeader({ sizeBytes: 8 ** 10 }),
    'where its index says snapshots/0/disk.json of',
  ],
  [
    'a smaller size than listed',
    () => withHeader({ sizeBytes: 1 }),
    'where its index says snapshots/0/disk.json of',
  ],
];

test.each(headers)('a member that is %s is refused', async (_, make, says) => {
  await expectRefused(make(), {
    message: expect.stringContaining(says),
    details: { problem: 'refused', member: 'snapshots/0/disk.json' },
  });
});

describe('bytes that are not those of the list', () => {
  const members = [
    'snapshots/0/disk.json',
    'snapshots/0/memory.json',
    'image/rootfs.squashfs',
    'kernel/kernel',
    'kernel/initramfs',
  ];
  test.each(members.map((name, index) => [name, index + 1] as const))(
    'of %s are found',
    async (name, index) => {
      const changed = withEntries((entries) => {
        const { content } = entries[index] as Entry;
        const middle = content.length >> 1;
        content[middle] = (content[middle] ?? 0) ^ 1;
      });
      await expectRefused(changed, {
        message: `the archive is damaged: ${name} does not have its digest`,
        details: { problem: 'damaged', member: name },
      });
    },
  );

  test('between members are found', async () => {
    const tar = zstdDecompressSync(archive);
    const end = 512 + Number.parseInt(tar.toString('latin1', 124, 135), 8);
    expect(tar[end]).toBe(0);
    tar[end] = 1;
    await expectRefused(zstdCompressSync(tar), {
      details: { problem: 'damaged', member: 'alcove-snapshot.json' },
    });
  });

  test('but fit the index are found by the checksum', async () => {
    const tar = zstdDecompressSync(archive);
    const index = tar.indexOf('"A": "1"');
    tar.write('"A": "2"', index);
    await expectRefused(zstdCompressSync(tar), {
      message: 'the archive is damaged: its checksum is another one',
      details: { problem: 'damaged', member: 'checksum' },
    });
  });

  test('behind its end are refused', async () => {
    const tar = zstdDecompressSync(archive);
    await expectRefused(zstdCompressSync(Buffer.concat([tar, Buffer.alloc(512)])), {
      details: { problem: 'refused' },
    });
    await expectRefused(Buffer.concat([archive, Buffer.from('more')]), { details: { problem: 'damaged' } });
    await expectRefused(Buffer.concat([archive, archive]), { details: { problem: 'refused' } });
  });
});

test.each([
  ['nothing', Buffer.alloc(0), 'cut short'],
  ['text', Buffer.from('this is not an archive at all'), 'damaged'],
  ['a compressed text', zstdCompressSync(Buffer.from('x'.repeat(2000))), 'refused'],
  ['a compressed nothing', zstdCompressSync(Buffer.alloc(0)), 'cut short'],
  ['zeros', zstdCompressSync(Buffer.alloc(1 << 20)), 'refused'],
])('%s is no archive', async (_, bytes, problem) => {
  await expectRefused(bytes, { details: expect.objectContaining({ problem }) });
});

test('an index of a size that no index has is not read', async () => {
  const huge = withEntries(([first]) => first && rewrite(first.header, { sizeBytes: 8 ** 11 - 1 }));
  await expectRefused(huge, { details: { problem: 'refused' } });
});

test('a bomb ends where its list does: what comes beyond is not even decompressed', async () => {
  const [first] = takeApart(zstdDecompressSync(archive));
  const head = Buffer.concat(
    [first?.header ?? [], first?.content ?? [], Buffer.alloc(-(first?.content.length ?? 0) & 511)].map((b) =>
      Buffer.from(b),
    ),
  );
  const zeros = zstdCompressSync(Buffer.alloc(64 << 20));
  let given = 0;
  const bomb = async function* () {
    yield zstdCompressSync(head);
    for (;;) {
      given++;
      yield zeros; // A frame of some KiB that becomes 64 MiB.
    }
  };
  await expect(elsewhere.runtime.snapshots.import(bomb())).rejects.toMatchObject({
    code: 'ArchiveInvalid',
    details: { problem: 'refused', member: 'snapshots/0/disk.json' },
  });
  expect(given).toBeLessThan(5);
  expect(everythingOf(elsewhere)).toEqual(before);
});

describe('an archive that is cut', () => {
  test('anywhere is told from a damaged one', async () => {
    for (let part = 0; part < 40; part++) {
      const cut = archive.subarray(0, Math.floor((archive.length * part) / 40));
      await expectRefused(cut, { details: expect.objectContaining({ problem: 'cut short' }) }, 500);
    }
    for (const missing of [1, 2, 4, 10]) {
      const cut = archive.subarray(0, -missing);
      await expectRefused(cut, { details: expect.objectContaining({ problem: 'cut short' }) });
    }
  });

  test('and compressed anew names the member within which it ends', async () => {
    const tar = zstdDecompressSync(archive);
    let at = 0;
    for (const { header, content } of takeApart(tar)) {
      const name = header.toString('latin1', 0, header.indexOf(0));
      const entryBytes = 512 + content.length + (-content.length & 511);
      for (const offset of [0, 1, 511, 512, 513, entryBytes - 1]) {
        const cut = zstdCompressSync(tar.subarray(0, at + offset));
        await expectRefused(cut, { details: { problem: 'cut short', member: name } });
      }
      at += entryBytes;
    }
    for (const endBytes of [0, 512, 1023])
      await expectRefused(zstdCompressSync(tar.subarray(0, at + endBytes)), {
        details: { problem: 'cut short', member: 'checksum' },
      });
  });
});

test('a bit that flips anywhere is found', async () => {
  for (const flipped of withFlippedBits(archive, 100)) await expectRefused(flipped, {});
});

describe('an import that is cancelled', () => {
  test('at any step leaves nothing', async () => {
    const steps: string[] = [];
    await using other = await openElsewhere();
    await other.runtime.snapshots.import(chunksOf(archive), { onProgress: (step) => void steps.push(step) });
    expect(steps).toHaveLength(5);
    for (const at of steps) {
      const abort = new AbortController();
      const importing = elsewhere.runtime.snapshots.import(chunksOf(archive, 300), {
        signal: abort.signal,
        onProgress: (step) => step === at && abort.abort(new Error('enough')),
      });
      await expect(importing).rejects.toMatchObject({ code: 'Cancelled' });
      expect(everythingOf(elsewhere)).toEqual(before);
    }
  });

  test.each([
    ['the index', 10],
    ['a member', 1500],
  ])('while it waits in vain for %s ends at once', async (_, bytes) => {
    const waiting = Promise.withResolvers<void>();
    const hanging = async function* () {
      yield archive.subarray(0, bytes);
      waiting.resolve();
      await new Promise(() => undefined);
    };
    const abort = new AbortController();
    const importing = elsewhere.runtime.snapshots.import(hanging(), { signal: abort.signal });
    const refused = expect(importing).rejects.toMatchObject({ code: 'Cancelled' });
    await waiting.promise;
    abort.abort();
    await refused;
    expect(everythingOf(elsewhere)).toEqual(before);
  });

  test('by the end of its engine leaves nothing', async () => {
    await using other = await openElsewhere();
    const hanging = async function* () {
      yield archive.subarray(0, 1500);
      await new Promise(() => undefined);
    };
    const importing = expect(other.runtime.snapshots.import(hanging())).rejects.toMatchObject({
      code: 'Cancelled',
    });
    await other.runtime.close();
    await importing;
    expect(readdirSync(join(other.root, 'tmp'))).toEqual([]);
  });
});

test('an archive that cannot be read says why, and leaves nothing', async () => {
  const broken = async function* () {
    yield archive.subarray(0, 1500);
    throw new Error('the network went away');
  };
  await expect(elsewhere.runtime.snapshots.import(broken())).rejects.toThrow('the network went away');
  expect(everythingOf(elsewhere)).toEqual(before);
});

test('a refused archive ends although its source would wait for ever, in the middle of a frame', async () => {
  const frame = zstdCompressSync(randomBytes(1 << 20));
  const hanging = async function* () {
    yield frame.subarray(0, 150 << 10); // A block of 128 KiB, and a part of the next.
    await new Promise(() => undefined);
  };
  await expect(elsewhere.runtime.snapshots.import(hanging())).rejects.toMatchObject({
    code: 'ArchiveInvalid',
  });
});

test.each(['import.unpacked', 'import.journalled', 'import.placed'] as const)(
  'an import that fails at %s takes everything back, and can be repeated',
  async (step) => {
    let times = 1;
    await using other = await openElsewhere({
      failpoint: async (name) => {
        if (name === step && times-- > 0) throw new Error('no luck');
      },
    });
    const empty = everythingOf(other);
    await expect(other.runtime.snapshots.import(chunksOf(archive))).rejects.toThrow('no luck');
    expect(everythingOf(other)).toEqual(empty);
    expect(other.warnings).toEqual([]);
    await other.runtime.snapshots.import(chunksOf(archive));
    await other.runtime.restore('vm/s1');
  },
);

test('an import that fails leaves the kernel to another one that has found it there', async () => {
  const hung = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  let times = 1;
  await using other = await openElsewhere({
    failpoint: async (name) => {
      if (name !== 'import.placed' || times-- <= 0) return;
      reached.resolve();
      await hung.promise;
      throw new Error('no luck');
    },
  });
  const failing = expect(other.runtime.snapshots.import(chunksOf(archive))).rejects.toThrow('no luck');
  await reached.promise;
  const second = other.runtime.snapshots.import(chunksOf(archive), { as: 'a/b' });
  // It has read all, found the kernel there, and waits for its turn.
  await vi.waitFor(() => expect(readdirSync(join(other.root, 'tmp'))).toHaveLength(2));
  await vi.waitFor(() =>
    expect(
      readdirSync(join(other.root, 'tmp'), { recursive: true, encoding: 'utf8' }).some((name) =>
        basename(name).startsWith('image-'),
      ),
    ).toBe(true),
  );
  hung.resolve();
  await failing;
  await second;
  const copy = await other.runtime.restore('a/b');
  await other.runtime.start(copy.id);
  expect(await other.realKernels.list()).toHaveLength(2);
  expect((await other.reopen()).mended).toEqual([]);
});

test('a disk that is full during an import is named, and nothing is left', async () => {
  const dir = join(elsewhere.root, '..', `small-${process.pid}`);
  await runTool('mkdir', [dir]);
  await runTool('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', dir]);
  onTestFinished(async () => {
    await runTool('umount', [dir]);
    await runTool('rmdir', [dir]);
  });
  const large = await largeArchive();
  for (const free of [16, 64, 256]) {
    await using small = await openElsewhere({
      parentDir: dir,
      databasePath: join(elsewhere.root, `${free}.db`),
    });
    await runTool('dd', ['if=/dev/zero', `of=${join(dir, 'filler')}`, 'bs=1k', 'count=512']).catch(
      () => undefined,
    );
    await runTool('truncate', ['-s', `-${free}K`, join(dir, 'filler')]);
    const empty = everythingOf(small);
    await expect(small.runtime.snapshots.import(chunksOf(large))).rejects.toMatchObject({
      code: 'StateUnusable',
    });
    expect(everythingOf(small)).toEqual(empty);
    expect(readdirSync(join(small.root, 'tmp'))).toEqual([]);
    expect(small.warnings).toEqual([]);
    await runTool('rm', [join(dir, 'filler')]);
  }
});

/** A snapshot of which some 400 KiB cannot be compressed. */
async function largeArchive(): Promise<Buffer> {
  await using origin = await openOrigin();
  const noise = Buffer.from(Array.from({ length: 300 << 10 }, (_, i) => (Math.sin(i) * 1e9) & 0xff));
  const guest = await origin.runtime.guest('vm');
  await guest.files.write('/root/noise', noise);
  await origin.runtime.snapshot('vm', { id: 'large' });
  return await exported(origin.runtime, 'vm/large');
}
