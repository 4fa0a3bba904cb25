import { expect, test } from 'vitest';
import { formatAge, formatBytes, formatElapsed, formatMib, shortDigest } from './human.ts';

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1 KiB'],
  [1536, '1.5 KiB'],
  [150 * 1024, '150 KiB'],
  [1023.99 * 1024, '1.0 MiB'],
  [1024 ** 4 * 5000, '5000 TiB'],
])('%d bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test('MiB', () => {
  expect(formatMib(256)).toBe('256 MiB');
  expect(formatMib(2048)).toBe('2 GiB');
});

test.each([
  [0, '0.0 s'],
  [1234, '1.2 s'],
  [59_949, '59.9 s'],
  [59_951, '1 min 0 s'],
  [125_000, '2 min 5 s'],
])('%i ms took %s', (ms, text) => {
  expect(formatElapsed(ms)).toBe(text);
});

test.each([
  [-5000, 'just now'],
  [999, 'just now'],
  [1000, '1 second ago'],
  [59_999, '59 seconds ago'],
  [180_000, '3 minutes ago'],
  [3_600_000, '1 hour ago'],
  [2 * 86_400_000, '2 days ago'],
])('%i ms back is %s', (ms, text) => {
  expect(formatAge(1e9, 1e9 + ms)).toBe(text);
});

test('a digest is shortened as far as it still names', () => {
  expect(shortDigest(`sha256:${'0123456789ab'.repeat(5)}cdef`)).toBe('sha256:0123456789ab');
});
