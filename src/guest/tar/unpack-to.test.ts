import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Header, pack } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type UnpackOptions, unpackTo } from './unpack-to.ts';

let dir: string;
let outside: string;
let into: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'unpack-'));
  outside = join(dir, 'outside');
  into = join(dir, 'into');
  writeFileSync(outside, 'untouched', { mode: 0o644 });
});

afterEach(() => rmSync(dir, { recursive: true }));

type TestEntry = Partial<Header> & { name: string; text?: string };

async function* archive(...entries: TestEntry[]): AsyncGenerator<Uint8Array> {
  const tar = pack();
  for (const { text, ...header } of entries) tar.entry({ type: 'file', mode: 0o644, ...header }, text ?? '');
  tar.finalize();
  for await (const chunk of tar) yield chunk as Uint8Array;
}

const unpack = (entries: TestEntry[], options: UnpackOptions = {}) =>
  unpackTo(into, archive(...entries), options);

test('files, directories, symlinks and hard links come out as they were', async () => {
  await unpack([
    { name: '.', type: 'directory', mode: 0o750 },
    { name: 'd', type: 'directory', mode: 0o500, mtime: new Date(1_000_000_000_000) },
    { name: 'd/f', text: 'content', mode: 0o4755, mtime: new Date(1_100_000_000_000) },
    { name: './d/up', type: 'symlink', linkname: '../top' },
    { name: 'same', type: 'link', linkname: './d/f' },
    { name: 'same', type: 'link', linkname: 'd/f' },
    { name: 'd/f', type: 'link', linkname: 'd/f' },
    { name: 'deep/er/without-parents', text: 'x' },
  ]);
  expect(statSync(into).mode & 0o7777).toBe(0o750);
  expect(statSync(join(into, 'd')).mode & 0o7777).toBe(0o500);
  expect(statSync(join(into, 'd')).mtimeMs).toBe(1_000_000_000_000);
  expect(readFileSync(join(into, 'd/f'), 'utf8')).toBe('content');
  expect(statSync(join(into, 'd/f')).mode & 0o7777).toBe(0o755);
  expect(statSync(join(into, 'd/f')).mtimeMs).toBe(1_100_000_000_000);
  expect(readlinkSync(join(into, 'd/up'))).toBe('../top');
  expect(statSync(join(into, 'same')).ino).toBe(statSync(join(into, 'd/f')).ino);
  expect(readdirSync(into).sort()).toEqual(['d', 'deep', 'same']);
  expect(readFileSync(join(into, 'deep/er/without-parents'), 'utf8')).toBe('x');
});

test('a directory that exists is merged, keeps its mode, and its files are replaced', async () => {
  mkdirSync(into, { mode: 0o700 });
  writeFileSync(join(into, 'old'), 'old');
  writeFileSync(join(into, 'kept'), 'kept');
  await unpack([
    { name: '.', type: 'directory', mode: 0o777 },
    { name: 'old', text: 'new' },
  ]);
  expect(statSync(into).mode & 0o777).toBe(0o700);
  expect(readFileSync(join(into, 'old'), 'utf8')).toBe('new');
  expect(readFileSync(join(into, 'kept'), 'utf8')).toBe('kept');
});

test('a link of the user below the destination is replaced, not written through', async () => {
  mkdirSync(into);
  symlinkSync(outside, join(into, 'f'));
  await unpack([{ name: 'f', text: 'new' }]);
  expect(lstatSync(join(into, 'f')).isFile()).toBe(true);
});

describe('refused, with nothing touched outside', () => {
  const refused: [string, TestEntry[]][] = [
    ['a name with ..', [{ name: '../outside', text: 'x' }]],
    ['a name with .. inside', [{ name: 'a/../../outside', text: 'x' }]],
    ['an absolute name', [{ name: '/outside', text: 'x' }]],
    ['a symlink to an absolute path', [{ name: 'l', type: 'symlink', linkname: '/etc' }]],
    ['a symlink that climbs out', [{ name: 'a/l', type: 'symlink', linkname: '../../outside' }]],
    [
      'a symlink that climbs out through another',
      [
        { name: 'a/b/here', type: 'symlink', linkname: '../..' },
        { name: 'a/b/out', type: 'symlink', linkname: 'here/../outside' },
      ],
    ],
    ['a symlink to nothing', [{ name: 'l', type: 'symlink', linkname: '' }]],
    [
      'a file through a symlink',
      [
        { name: 'd', type: 'directory' },
        { name: 'l', type: 'symlink', linkname: 'd' },
        { name: 'l/f', text: 'x' },
      ],
    ],
    [
      'a directory where a symlink is',
      [
        { name: 'l', type: 'symlink', linkname: '.' },
        { name: 'l', type: 'directory' },
      ],
    ],
    [
      'a symlink where a directory is',
      [
        { name: 'd', type: 'directory' },
        { name: 'd', type: 'symlink', linkname: '.' },
      ],
    ],
    ['a hard link with ..', [{ name: 'h', type: 'link', linkname: '../outside' }]],
    ['a hard link to an absolute path', [{ name: 'h', type: 'link', linkname: '/etc/hostname' }]],
    ['a hard link to what is not in the archive', [{ name: 'h', type: 'link', linkname: 'other' }]],
    [
      'a hard link to what was a file and is a symlink',
      [
        { name: 'f', text: 'x' },
        { name: 'f', type: 'symlink', linkname: 'g' },
        { name: 'h', type: 'link', linkname: 'f' },
      ],
    ],
    ['a device', [{ name: 'null', type: 'character-device', devmajor: 1, devminor: 3 }]],
    ['a fifo', [{ name: 'p', type: 'fifo' }]],
    ['a file in the place of the destination', [{ name: '.', text: 'x' }]],
    [
      'a hard link in the place of a directory',
      [
        { name: 'f', text: 'x' },
        { name: 'd', type: 'directory' },
        { name: 'd', type: 'link', linkname: 'f' },
      ],
    ],
    [
      'a file in the place of a directory',
      [
        { name: 'd/f', text: 'x' },
        { name: 'd', text: 'x' },
      ],
    ],
  ];

  test.each(refused)('%s', async (_name, entries) => {
    const error = await unpack(entries).catch((e) => e);
    expect(error).toMatchObject({ code: 'InvalidInput', details: { field: 'tar' } });
    expect(error.message).toContain(`entry ${JSON.stringify(entries.at(-1)?.name)}`);
    expect(readdirSync(dir).sort()).toEqual(['into', 'outside']);
    expect(readFileSync(outside, 'utf8')).toBe('untouched');
    expect(
      readdirSync(into, { recursive: true }).filter((name) => String(name).includes('.alcove-')),
    ).toEqual([]);
  });

  test('what is through a link of the user below the destination', async () => {
    mkdirSync(into);
    mkdirSync(join(dir, 'elsewhere'));
    symlinkSync(join(dir, 'elsewhere'), join(into, 'l'));
    await expect(unpack([{ name: 'l/f', text: 'x' }])).rejects.toThrow(/which is a link/);
    expect(readdirSync(join(dir, 'elsewhere'))).toEqual([]);
  });

  test.each([
    ['more entries', { maxEntries: 1 }],
    ['more bytes', { maxBytes: 5 }],
  ])('%s than allowed', async (_name, limits) => {
    const files = [
      { name: 'a', text: '123' },
      { name: 'b', text: '456' },
    ];
    await expect(unpack(files, { limits })).rejects.toThrow(/entry "b"/);
    expect(readdirSync(into)).toEqual(['a']);
  });
});

test.each([
  ['bytes that are no archive', Buffer.alloc(512, 'x')],
  ['half a header', Buffer.alloc(100, 'x')],
])('%s are a damaged archive', async (_name, bytes) => {
  async function* source() {
    yield bytes;
  }
  await expect(unpackTo(into, source())).rejects.toThrow(/the archive is damaged/);
});

test('an archive that ends inside a file is damaged, and leaves no half file', async () => {
  async function* source() {
    let left = 700;
    for await (const chunk of archive({ name: 'f', text: 'x'.repeat(1_000) })) {
      yield chunk.subarray(0, left);
      left = Math.max(0, left - chunk.length);
    }
  }
  await expect(unpackTo(into, source())).rejects.toThrow(/the archive is damaged/);
  expect(readdirSync(into)).toEqual([]);
});

test('an error of the source comes through, and leaves no half file', async () => {
  const broken = new Error('the guest went away');
  async function* source() {
    const chunks = archive({ name: 'f', text: 'x'.repeat(100_000) });
    yield (await chunks.next()).value ?? Buffer.alloc(0);
    yield (await chunks.next()).value?.subarray(0, 10) ?? Buffer.alloc(0);
    throw broken;
  }
  await expect(unpackTo(into, source())).rejects.toBe(broken);
  expect(readdirSync(into)).toEqual([]);
});

test('a source that hangs is let go of when it is cancelled', async () => {
  const controller = new AbortController();
  let letGo = false;
  const source: AsyncIterable<Uint8Array> = {
    [Symbol.asyncIterator]: () => ({
      next: () => {
        queueMicrotask(() => controller.abort());
        return new Promise(() => {});
      },
      return: async () => {
        letGo = true;
        return { done: true, value: undefined };
      },
    }),
  };
  await expect(unpackTo(into, source, { signal: controller.signal })).rejects.toThrow(
    expect.objectContaining({ code: 'Cancelled' }),
  );
  expect(letGo).toBe(true);
});

test('one file gets the name that is asked for, and a second one is refused', async () => {
  await unpack([{ name: 'theirs', text: 'x' }], { as: 'ours' });
  expect(readdirSync(into)).toEqual(['ours']);
  const two = [
    { name: 'a', text: 'x' },
    { name: 'b', text: 'y' },
  ];
  await expect(unpack(two, { as: 'ours' })).rejects.toThrow(/where one file was expected/);
  await expect(unpack([{ name: 'd', type: 'directory' }], { as: 'ours' })).rejects.toThrow(/is a directory/);
});

test('the directory of the destination must exist', async () => {
  await expect(unpackTo(join(dir, 'no/such'), archive())).rejects.toThrow(
    expect.objectContaining({ code: 'HostFile' }),
  );
  expect(existsSync(join(dir, 'no'))).toBe(false);
});

test('root may keep owners and set-user-id bits; nobody else may ask for it', async () => {
  const unpacking = unpack([{ name: 'f', text: 'x', uid: 1234, gid: 5678, mode: 0o4755 }], {
    owners: 'keep',
  });
  if (process.geteuid?.() === 0) {
    await unpacking;
    const { uid, gid, mode } = statSync(join(into, 'f'));
    expect({ uid, gid, mode: mode & 0o7777 }).toEqual({ uid: 1234, gid: 5678, mode: 0o4755 });
  } else {
    await expect(unpacking).rejects.toThrow(expect.objectContaining({ details: { field: 'owners' } }));
  }
});

describe('a sparse file', () => {
  const sparse = (realsize: string, name = 'file') => ({
    'GNU.sparse.major': '1',
    'GNU.sparse.minor': '0',
    'GNU.sparse.name': name,
    'GNU.sparse.realsize': realsize,
  });
  const body = (map: string, data: string) => map.padEnd(512, '\0') + data;

  test('is put together, with its holes, under its own name', async () => {
    const pax = sparse('1000000');
    await unpack([{ name: 'GNUSparseFile.0/file', pax, text: body('2\n4096\n3\n8192\n2\n', 'abcde') }]);
    const expected = Buffer.alloc(1_000_000);
    expected.write('abc', 4_096);
    expected.write('de', 8_192);
    expect(readFileSync(join(into, 'file')).equals(expected)).toBe(true);
    expect(readdirSync(into)).toEqual(['file']);
  });

  test.each([
    ['extents out of order', sparse('100'), '2\n50\n1\n0\n1\n', 'ab'],
    ['an extent beyond its end', sparse('100'), '1\n99\n2\n', 'ab'],
    ['more data than extents', sparse('100'), '1\n0\n1\n', 'ab'],
    ['less data than extents', sparse('100'), '1\n0\n3\n', 'ab'],
    ['a map without an end', sparse('100'), '9\n0\n1\n', ''],
    ['a number that is none', sparse('100'), '1\n0x0\n2\n', 'ab'],
    ['too many extents', sparse('100'), '9999999\n', ''],
    ['no size that could be', sparse('99999999999999999999'), '0\n', ''],
    ['a name that leads out', sparse('100', '../outside'), '1\n0\n2\n', 'ab'],
    ['another form', { ...sparse('100'), 'GNU.sparse.major': '0' }, '1\n0\n2\n', 'ab'],
  ])('with %s is refused', async (_name, pax, map, data) => {
    await expect(unpack([{ name: 'file', pax, text: body(map, data) }])).rejects.toMatchObject({
      code: 'InvalidInput',
    });
    expect(existsSync(join(into, 'file'))).toBe(false);
  });

  test('counts with its holes for the limit of bytes', async () => {
    const bomb = { name: 'file', pax: sparse('1000000000000000'), text: body('0\n', '') };
    await expect(unpack([bomb])).rejects.toMatchObject({ code: 'InvalidInput' });
  });
});
