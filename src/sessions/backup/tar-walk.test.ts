import { describe, expect, test } from 'vitest';
import { directory, hardLink, makeTar, symlink } from '../../../test/images/make-tar.ts';
import { pax, raw, tarOf } from '../../../test/sessions/raw-tar.ts';
import type { ArchiveLimits } from './backup-store.ts';
import { maxExtensionBytes } from './extended-header.ts';
import { type TarTotals, TarWalk } from './tar-walk.ts';

function walk(tar: Buffer, limits?: ArchiveLimits, chunkBytes = tar.length): TarTotals {
  const following = new TarWalk(limits);
  for (let at = 0; at < tar.length; at += chunkBytes) following.push(tar.subarray(at, at + chunkBytes));
  return following.end();
}

const none = { files: 0, directories: 0, symlinks: 0, hardLinks: 0, others: 0 };
const usual = makeTar([
  { name: './', is: directory },
  { name: './a', data: 'x'.repeat(700) },
  { name: './link', is: symlink('/etc/shadow') },
  { name: './twin', is: hardLink('./a') },
  { name: './fifo', is: { kind: 'fifo' } },
  { name: `./${'deep/'.repeat(60)}end`, data: 'long name' },
  { name: './\xff\n', data: Buffer.alloc(513) },
]);

describe('counting', () => {
  test.each([1, 7, 511, 512, 513, 10_240, 1 << 20])(
    'what is in a tar that comes in chunks of %i bytes',
    (chunkBytes) => {
      expect(walk(usual, undefined, chunkBytes)).toEqual({
        tarBytes: usual.length,
        contentBytes: 700 + 9 + 513,
        entries: { files: 3, directories: 1, symlinks: 1, hardLinks: 1, others: 1 },
      });
    },
  );

  const sparse = { files: 1, ...{ directories: 0, symlinks: 0, hardLinks: 0, others: 0 } };
  const part = (offset: string, size: string) => `${offset}\0${size}\0`;
  const octal = (value: number) => value.toString(8).padStart(11, '0');
  const oldMap = (parts: [number, number][]) => parts.map(([o, s]) => part(octal(o), octal(s))).join('');
  const oldSparse = (real: number, parts: [number, number][], more: string, data: string) =>
    raw({
      type: 'S',
      magic: 'ustar  \0',
      data,
      over: [
        { at: 386, bytes: oldMap(parts) },
        { at: 482, bytes: more },
        { at: 483, bytes: `${octal(real)}\0` },
      ],
    });
  const extended = Buffer.alloc(512);
  extended.write(oldMap([[5_000, 2]]), 0, 'latin1');
  const behind = (header: Buffer, block: Buffer) =>
    Buffer.concat([header.subarray(0, 512), block, header.subarray(512)]);
  const mapInData = (lines: string, data: string) => {
    const text = Buffer.from(lines);
    return Buffer.concat([text, Buffer.alloc((512 - (text.length % 512)) % 512), Buffer.from(data)]);
  };
  const ten = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0' };
  const withHoles: [string, Buffer, number][] = [
    [
      'old GNU',
      oldSparse(
        10_000,
        [
          [0, 1],
          [4_000, 4],
        ],
        '\0',
        'abcde',
      ),
      10_000,
    ],
    [
      'old GNU, map in a block of its own',
      behind(oldSparse(9_000, [[0, 1]], '\x01', 'abc'), extended),
      9_000,
    ],
    [
      'pax 0.0',
      Buffer.concat([
        pax([
          ['GNU.sparse.size', '99'],
          ['GNU.sparse.numblocks', '2'],
          ['GNU.sparse.offset', '5'],
          ['GNU.sparse.numbytes', '2'],
          ['GNU.sparse.offset', '90'],
          ['GNU.sparse.numbytes', '1'],
        ]),
        raw({ data: 'abc' }),
      ]),
      99,
    ],
    [
      'pax 0.1',
      Buffer.concat([pax({ 'GNU.sparse.size': '99', 'GNU.sparse.map': '5,2,90,1' }), raw({ data: 'abc' })]),
      99,
    ],
    [
      'pax 1.0',
      Buffer.concat([
        pax({ ...ten, 'GNU.sparse.name': 'a', 'GNU.sparse.realsize': '5000000' }),
        raw({ name: 'GNUSparseFile.1/a', data: mapInData('2\n0\n1\n4096\n2\n', 'abc') }),
      ]),
      5_000_000,
    ],
    [
      'pax 1.0 whose map has several blocks',
      Buffer.concat([
        pax({ ...ten, 'GNU.sparse.realsize': '1000000' }),
        raw({
          data: mapInData(
            `200\n${Array.from({ length: 200 }, (_, at) => `${at * 5_000}\n1\n`).join('')}`,
            'd'.repeat(200),
          ),
        }),
      ]),
      1_000_000,
    ],
    [
      'pax 1.0 of nothing but a hole',
      Buffer.concat([pax({ ...ten, 'GNU.sparse.realsize': '77' }), raw({ data: mapInData('0\n', '') })]),
      77,
    ],
  ];
  test.each(withHoles)('a file with holes (%s)', (_what, file, contentBytes) => {
    for (const chunkBytes of [1, 513, 1 << 20]) {
      expect(walk(tarOf(file, raw({ name: 'next', type: '5' })), undefined, chunkBytes)).toMatchObject({
        contentBytes,
        entries: { ...sparse, directories: 1 },
      });
    }
  });

  const odd: [string, Buffer, Partial<TarTotals['entries']>][] = [
    ['no entry at all', tarOf(), {}],
    ['v7, without a type', tarOf(raw({ type: '\0', magic: '', data: 'x' })), { files: 1 }],
    ['v7, a directory by its slash', tarOf(raw({ name: 'd/', type: '\0', magic: '' })), { directories: 1 }],
    ['a contiguous file', tarOf(raw({ type: '7', data: 'x' })), { files: 1 }],
    [
      'long names in the way of GNU',
      tarOf(raw({ type: 'L', data: 'n'.repeat(300) }), raw({ type: 'K', data: 't\0' }), raw({ type: '2' })),
      { symlinks: 1 },
    ],
    ['a comment for all', tarOf(pax({ comment: 'abc' }, 'g'), raw({})), { files: 1 }],
    ['a time before 1970', tarOf(raw({ mtime: `\xff${'\xff'.repeat(10)}\x01` })), { files: 1 }],
    ['a checksum over signed bytes', tarOf(signedChecksum()), { files: 1 }],
    ['a size for a link', tarOf(raw({ type: '1', target: 'a', size: 9 })), { hardLinks: 1 }],
    [
      'the size in pax',
      tarOf(pax({ size: '3' }), Buffer.concat([raw({ size: 0 }), Buffer.from('abc'), Buffer.alloc(509)])),
      { files: 1 },
    ],
    ['fill after its end', Buffer.concat([tarOf(raw({})), Buffer.alloc(10_240)]), { files: 1 }],
    [
      'a name that a symlink begins like',
      tarOf(raw({ name: 'a', type: '2', target: 'x' }), raw({ name: 'ab/c' })),
      { symlinks: 1, files: 1 },
    ],
    [
      'a symlink twice',
      tarOf(raw({ name: 'a', type: '2', target: 'x' }), raw({ name: 'a', type: '2', target: 'y' })),
      { symlinks: 2 },
    ],
    ['dots in names', tarOf(raw({ name: './..a/.../b..' })), { files: 1 }],
  ];
  test.each(odd)('%s', (_what, tar, entries) => {
    for (const chunkBytes of [1, 700, 1 << 20]) {
      expect(walk(tar, undefined, chunkBytes)).toMatchObject({
        tarBytes: tar.length,
        entries: { ...none, ...entries },
      });
    }
  });
});

function signedChecksum(): Buffer {
  const block = raw({ name: '\xff\xfe' });
  let sum = 8 * 0x20;
  for (const [at, byte] of block.entries()) if (at < 148 || at >= 156) sum += byte > 127 ? byte - 256 : byte;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

describe('refusing', () => {
  const link = (name: string, target: string) => raw({ name, type: '2', target });
  const long = (name: string) => [raw({ type: 'L', data: `${name}\0` }), raw({ name: name.slice(0, 99) })];
  const refused: [string, Buffer][] = [
    ['an absolute name', tarOf(raw({ name: '/etc/passwd' }))],
    ['an absolute name in pax', tarOf(pax({ path: '/etc/passwd' }), raw({}))],
    ['an absolute long name', tarOf(...long(`/${'a'.repeat(200)}`))],
    ['an absolute name in the prefix', tarOf(raw({ name: 'x', over: [{ at: 345, bytes: '/etc' }] }))],
    ['a name that climbs out', tarOf(raw({ name: '../x' }))],
    ['a name that climbs out later', tarOf(raw({ name: 'a/../../x' }))],
    ['a name that climbs and stays in', tarOf(raw({ name: 'a/../b' }))],
    ['a directory that climbs out', tarOf(raw({ name: 'a/..', type: '5' }))],
    ['a prefix that climbs out', tarOf(raw({ name: 'x', over: [{ at: 345, bytes: '..' }] }))],
    ['a pax name that climbs out', tarOf(pax({ path: 'a/../../x' }), raw({}))],
    ['a long name that climbs out', tarOf(...long(`${'a/'.repeat(99)}../x`))],
    ['a symlink that climbs out by its own name', tarOf(link('../x', 'y'))],
    [
      'a name of a sparse file that climbs out',
      tarOf(pax({ 'GNU.sparse.name': '../x', 'GNU.sparse.size': '0', 'GNU.sparse.map': '' }), raw({})),
    ],
    [
      'a second name beside that of a sparse file',
      tarOf(
        pax({ path: '../x', 'GNU.sparse.name': 'x', 'GNU.sparse.size': '0', 'GNU.sparse.numblocks': '0' }),
        raw({}),
      ),
    ],
    ['NUL in a name', tarOf(pax({ path: 'a\0b' }), raw({}))],
    ['a name of 65 KiB', tarOf(pax({ path: 'n'.repeat(65 << 10) }), raw({}))],
    ['a file below its own symlink', tarOf(link('a', '/etc'), raw({ name: 'a/passwd' }))],
    ['a file far below its own symlink', tarOf(link('d/a', '/etc'), raw({ name: './d//a/./b/c' }))],
    ['a directory below its own symlink', tarOf(link('a', '.'), raw({ name: 'a/b/', type: '5' }))],
    ['a symlink below another', tarOf(link('a', '.'), link('a/b', 'c'))],
    [
      'a file below a symlink with a long name',
      tarOf(
        pax({ path: `${'n'.repeat(90)}/a` }),
        link('x', '/'),
        pax({ path: `${'n'.repeat(90)}/a/b` }),
        raw({}),
      ),
    ],
    [
      'a file below a symlink that comes after its directory was looked at',
      tarOf(link('z', 'z'), raw({ name: 'a/b' }), link('a', '/'), raw({ name: 'a/c' })),
    ],
    [
      'a file below a hard link to a symlink',
      tarOf(link('a', '/etc'), raw({ name: 'b', type: '1', target: 'a' }), raw({ name: 'b/c' })),
    ],
    [
      'a file below a symlink that was replaced',
      tarOf(link('a', '/etc'), raw({ name: 'a', type: '5' }), raw({ name: 'a/b' })),
    ],
    [
      'a file below a hard link that takes the place of a directory',
      tarOf(link('a/b', '/etc'), raw({ name: 'a', type: '1', target: 'a/b' }), raw({ name: 'a/c' })),
    ],
    ['a directory in place of its own symlink', tarOf(link('a', '/etc'), raw({ name: 'a', type: '5' }))],
    ['a file in place of its own symlink', tarOf(link('a', '/etc/passwd'), raw({ name: './a' }))],
    ['an absolute hard link', tarOf(raw({ type: '1', target: '/etc/shadow' }))],
    ['a hard link out', tarOf(raw({ type: '1', target: '../x' }))],
    ['a hard link out in pax', tarOf(pax({ linkpath: 'a/../../x' }), raw({ type: '1', target: 'a' }))],
    [
      'a hard link out in the way of GNU',
      tarOf(raw({ type: 'K', data: '../x\0' }), raw({ type: '1', target: 'a' })),
    ],
    ['a hard link through its own symlink', tarOf(link('a', '/etc'), raw({ type: '1', target: 'a/shadow' }))],
    [
      'a hard link below its own symlink',
      tarOf(link('a', '/etc'), raw({ name: 'a/b', type: '1', target: 'c' })),
    ],
    ['a character device', tarOf(raw({ type: '3' }))],
    ['a block device', tarOf(raw({ type: '4' }))],
    ['a symlink in place of the directory', tarOf(link('./', '/etc'))],
    ['a file in place of the directory', tarOf(raw({ name: '.' }))],
    ['a directory with content', tarOf(raw({ name: 'a/', data: 'x' }))],
    ['a type that nobody knows', tarOf(raw({ type: 'Z' }))],
    ['a volume label', tarOf(raw({ type: 'V' }))],
    ['a file that goes on from another volume', tarOf(raw({ type: 'M' }))],
    ['a directory of GNU dumps', tarOf(raw({ type: 'D' }))],
    ['a name for all entries', tarOf(pax({ path: 'a' }, 'g'), raw({}))],
    ['a size for all entries', tarOf(pax({ size: '5' }, 'g'), raw({}))],
    ['a map for all entries', tarOf(pax({ 'GNU.sparse.size': '5' }, 'g'), raw({}))],
    ['a pax header of 1 MiB and a byte', tarOf(raw({ type: 'x', size: maxExtensionBytes + 1 }))],
    ['a pax header of 8 GiB', tarOf(raw({ type: 'x', size: 8 * 2 ** 30 - 1 }))],
    ['a long name of 8 GiB', tarOf(raw({ type: 'L', size: 8 * 2 ** 30 - 1 }))],
  ];
  test.each(refused)('%s', (_what, tar) => {
    for (const chunkBytes of [1, 700, 1 << 20]) {
      expect(() => walk(tar, undefined, chunkBytes)).toThrow(
        expect.objectContaining({
          code: 'BackupInvalid',
          details: expect.objectContaining({ problem: 'refused' }),
        }),
      );
    }
  });

  const sparse = (records: Record<string, string>, data = 'abc') =>
    tarOf(pax({ 'GNU.sparse.size': '99', ...records }), raw({ data }));
  const ten = (lines: string, more: Record<string, string> = {}) =>
    sparse(
      { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '99', ...more },
      lines.padEnd(512, '\0'),
    );
  const binary = (bytes: string) => bytes.padEnd(12, '\0');
  const damaged: [string, Buffer][] = [
    ['a header that was changed', Buffer.concat([Buffer.from('X'), usual.subarray(1)])],
    ['a header without a checksum', tarOf(raw({ checksum: '        ' }))],
    ['garbage', Buffer.alloc(4_096, 'garbage ')],
    ['a size that is no number', tarOf(raw({ size: '99999999999\0' }))],
    ['a negative size', tarOf(raw({ size: '\xff'.repeat(12) }))],
    [
      'a size beyond all numbers',
      tarOf(raw({ size: binary('\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff') })),
    ],
    ['a size in pax that is no number', tarOf(pax({ size: '-5' }), raw({}))],
    ['a size in pax beyond all numbers', tarOf(pax({ size: '99999999999999999999' }), raw({}))],
    ['a size in pax with an exponent', tarOf(pax({ size: '1e3' }), raw({}))],
    ['a negative owner', tarOf(raw({ uid: '\xff'.repeat(8) }))],
    ['an owner in pax that is no number', tarOf(pax({ uid: 'root' }), raw({}))],
    ['a negative mode', tarOf(raw({ mode: '\xff'.repeat(8) }))],
    ['no name', tarOf(raw({ name: '' }))],
    ['an empty long name', tarOf(raw({ type: 'L' }), raw({ name: 'x' }))],
    ['a hard link to nothing', tarOf(raw({ type: '1' }))],
    ['a malformed pax record', tarOf(raw({ type: 'x', data: '99 path=a\n' }), raw({}))],
    ['a pax record without an end', tarOf(raw({ type: 'x', data: '10 path=ab' }), raw({}))],
    ['two pax headers for one entry', tarOf(pax({ path: 'a' }), pax({ path: 'b' }), raw({}))],
    [
      'two long names for one entry',
      tarOf(raw({ type: 'L', data: 'a' }), raw({ type: 'L', data: 'b' }), raw({})),
    ],
    ['a pax header for nothing', tarOf(pax({ path: 'a' }))],
    ['something after the end', Buffer.concat([tarOf(raw({})), Buffer.from('more')])],
    ['another tar after the end', Buffer.concat([tarOf(raw({})), tarOf(raw({ name: 'b' }))])],
    ['a single empty block in the middle', tarOf(raw({}), Buffer.alloc(512), raw({ name: 'b' }))],
    [
      'a sparse file of unknown kind',
      sparse({ 'GNU.sparse.major': '2', 'GNU.sparse.minor': '0', 'GNU.sparse.map': 'x' }),
    ],
    ['a sparse file without a map', sparse({ 'GNU.sparse.realsize': '5' })],
    ['a sparse file without a size', tarOf(pax({ 'GNU.sparse.map': '0,3' }), raw({ data: 'abc' }))],
    ['a map that goes beyond the file', sparse({ 'GNU.sparse.map': '97,3' })],
    ['a map that goes back', sparse({ 'GNU.sparse.map': '9,2,4,1' })],
    ['a map whose parts overlap', sparse({ 'GNU.sparse.map': '9,2,10,1' })],
    ['a map for more than there is', sparse({ 'GNU.sparse.map': '0,4' })],
    ['a map for less than there is', sparse({ 'GNU.sparse.map': '0,2' })],
    ['half a part in a map', sparse({ 'GNU.sparse.map': '0,3,5' })],
    ['a map that is none', sparse({ 'GNU.sparse.map': '0,x' })],
    ['a map of negative parts', sparse({ 'GNU.sparse.map': '-1,4' })],
    ['a map in the data that never ends', ten('999999\n1\n0\n')],
    ['a map in the data with a long line', ten('1'.repeat(600))],
    ['a map in the data that is none', ten('x\n')],
    [
      'a map in the data of a file that is too short',
      tarOf(
        pax({ 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '9' }),
        raw({ data: '0\n' }),
      ),
    ],
    [
      'a directory with holes',
      tarOf(pax({ 'GNU.sparse.size': '5', 'GNU.sparse.map': '' }), raw({ type: '5' })),
    ],
    [
      'an old sparse file with an impossible size',
      tarOf(raw({ type: 'S', over: [{ at: 483, bytes: '\xff'.repeat(12) }] })),
    ],
    [
      'sizes that add up beyond all numbers',
      tarOf(
        ...['a', 'b', 'c'].map((name) =>
          Buffer.concat([pax({ 'GNU.sparse.size': String(2 ** 52), 'GNU.sparse.map': '' }), raw({ name })]),
        ),
      ),
    ],
  ];
  test.each(damaged)('%s', (_what, tar) => {
    for (const chunkBytes of [1, 700, 1 << 20]) {
      expect(() => walk(tar, undefined, chunkBytes)).toThrow(
        expect.objectContaining({
          code: 'BackupInvalid',
          details: expect.objectContaining({ problem: 'damaged' }),
        }),
      );
    }
  });

  test('a tar that is cut anywhere, between two entries and in its end mark too', () => {
    for (let length = 0; length < usual.length; length += 97) {
      expect(() => walk(usual.subarray(0, length))).toThrow(/cut short/);
    }
    for (const left of [512, 1024])
      expect(() => walk(usual.subarray(0, usual.length - left))).toThrow(/cut short/);
  });
});

describe('limits', () => {
  const limits = { unpackedBytes: 2_000, entries: 3 };
  const tooLarge = expect.objectContaining({ details: expect.objectContaining({ problem: 'too large' }) });

  test('are kept to the byte and the entry', () => {
    expect(walk(tarOf(raw({ data: 'x'.repeat(2_000) })), limits).contentBytes).toBe(2_000);
    expect(() => walk(tarOf(raw({ data: 'x'.repeat(2_001) })), limits)).toThrow(tooLarge);
    expect(walk(tarOf(raw({}), raw({}), raw({})), limits).entries.files).toBe(3);
    expect(() => walk(tarOf(raw({}), raw({}), raw({}), raw({})), limits)).toThrow(tooLarge);
  });

  test('do not count holes', () => {
    const tar = tarOf(
      pax({ 'GNU.sparse.size': '9999999', 'GNU.sparse.map': '5,2,90,1' }),
      raw({ data: 'abc' }),
    );
    expect(walk(tar, limits).contentBytes).toBe(9_999_999);
  });

  const bombs: [string, Buffer][] = [
    ['a size, before its first byte has come', raw({ size: 5_000 })],
    ['a size in pax', Buffer.concat([pax({ size: '5000000000000' }), raw({})])],
    [
      'attributes',
      Buffer.concat([
        pax({ 'SCHILY.xattr.user.a': 'x'.repeat(1_500) }),
        raw({}),
        pax({ 'SCHILY.xattr.user.a': 'x'.repeat(1_500) }),
      ]),
    ],
    ['headers for all entries', Buffer.concat(Array.from({ length: 4 }, () => pax({ comment: '' }, 'g')))],
    [
      'maps of sparse files',
      Buffer.concat([
        raw({ type: 'S', over: [{ at: 482, bytes: '\x01' }] }),
        ...Array(9).fill(Buffer.alloc(512).fill(1, 504, 505)),
      ]),
    ],
  ];
  test.each(bombs)('refuse %s', (_what, tar) => {
    expect(() => walk(tar, limits)).toThrow(tooLarge);
    expect(() => walk(tar, limits, 1)).toThrow(tooLarge);
  });

  test('zeros without an end are refused', () => {
    const following = new TarWalk(limits);
    const zeros = Buffer.alloc(1 << 20);
    expect(() => {
      for (let mebibytes = 0; mebibytes < 1_000; mebibytes++) following.push(zeros);
    }).toThrow(tooLarge);
  });
});
