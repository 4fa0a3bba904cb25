import { expect, test } from 'vitest';
import { type MappedPart, mappedParts } from './process-mapping.ts';

/** `stat -c %d` of a file on device fe:01, and what btrfs says of one of its own. */
const disk = { dev: 0xfe01n, ino: 77n };
const btrfs = { dev: 0x2bn, ino: 77n };
const MiB = 1 << 20;
const line = (range: string, rest: string) => `${range} ${rest}                 /state/a file (deleted)`;
const other = line('7f0000000000-7f0000100000', 'rw-p 00000000 fe:01 78');

test.each<[what: string, lines: string[], file: { dev: bigint; ino: bigint }, found: MappedPart[] | string]>([
  [
    'one mapping',
    [other, line('7f0010000000-7f0010200000', 'rw-p 00000000 fe:01 77')],
    disk,
    [{ start: 0x7f0010000000, length: 2 * MiB, offset: 0 }],
  ],
  [
    'a mapping that the kernel split, wherever its parts lie',
    [
      line('7f0010000000-7f0010100000', 'rw-p 00100000 fe:01 77'),
      other,
      line('7f0020000000-7f0020100000', 'r--p 00000000 fe:01 77'),
    ],
    disk,
    [
      { start: 0x7f0020000000, length: MiB, offset: 0 },
      { start: 0x7f0010000000, length: MiB, offset: MiB },
    ],
  ],
  [
    'a large device number',
    [line('7f0010000000-7f0010200000', 'rw-p 00000000 103:10000a 77')],
    { dev: (0x10000an & 0xffn) | (0x103n << 8n) | ((0x10000an & ~0xffn) << 12n), ino: 77n },
    [{ start: 0x7f0010000000, length: 2 * MiB, offset: 0 }],
  ],
  [
    'the inode of a file system that tells of another device',
    [line('7f0010000000-7f0010200000', 'rw-p 00000000 00:2a 77')],
    btrfs,
    [{ start: 0x7f0010000000, length: 2 * MiB, offset: 0 }],
  ],
  [
    'the inode of another disk',
    [line('7f0010000000-7f0010200000', 'rw-p 00000000 fe:02 77')],
    disk,
    'absent',
  ],
  ['another inode', [other], disk, 'absent'],
  ['no mapping at all', [''], disk, 'absent'],
  ['too short a part', [line('7f0010000000-7f0010100000', 'rw-p 00000000 fe:01 77')], disk, 'absent'],
  ['another part', [line('7f0010000000-7f0010200000', 'rw-p 00100000 fe:01 77')], disk, 'absent'],
  [
    'parts with a hole between them',
    [
      line('7f0010000000-7f0010100000', 'rw-p 00000000 fe:01 77'),
      line('7f0020000000-7f0020100000', 'rw-p 00200000 fe:01 77'),
    ],
    disk,
    'absent',
  ],
  [
    'two mappings of it',
    [
      line('7f0010000000-7f0010200000', 'rw-p 00000000 fe:01 77'),
      line('7f0020000000-7f0020200000', 'rw-p 00000000 fe:01 77'),
    ],
    disk,
    'absent',
  ],
  ['a shared mapping', [line('7f0010000000-7f0010200000', 'rw-s 00000000 fe:01 77')], disk, 'shared'],
])('%s', (_what, lines, file, found) => {
  expect(mappedParts(`${lines.join('\n')}\n`, file, 2 * MiB)).toEqual(found);
});
