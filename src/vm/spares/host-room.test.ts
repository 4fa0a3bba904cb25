import { tmpdir, totalmem } from 'node:os';
import { expect, test } from 'vitest';
import { readHostRoom, shortage } from './host-room.ts';
import { warmOptions } from './spare-options.ts';

test('what this host has left is within what it has', () => {
  const { memoryMiB, diskMiB } = readHostRoom(tmpdir());
  expect(memoryMiB).toBeGreaterThan(0);
  expect(memoryMiB * 1024 * 1024).toBeLessThanOrEqual(totalmem());
  expect(diskMiB).toBeGreaterThan(0);
});

test.for([
  [{ memoryMiB: 512, diskMiB: 1024 }, 0, undefined],
  [{ memoryMiB: 511, diskMiB: 1024 }, 0, 'host memory'],
  [{ memoryMiB: 700, diskMiB: 1024 }, 188, undefined],
  [{ memoryMiB: 700, diskMiB: 1024 }, 189, 'host memory'],
  [{ memoryMiB: 9000, diskMiB: 1023 }, 0, 'host disk'],
] as const)('of %o, for %i MiB more, the host is short of %s', ([room, extraMiB, short]) => {
  expect(shortage(room, warmOptions({}, 4096), extraMiB)).toBe(short);
});
