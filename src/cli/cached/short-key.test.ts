import { expect, test } from 'vitest';
import { shortKey } from './short-key.ts';

test.each([
  [`v1:${'0123456789ab'.repeat(5)}cdef`, 'v1:0123456789ab'],
  ['nightly', 'nightly'],
  ['x'.repeat(40), 'x'.repeat(40)],
  ['x'.repeat(41), `${'x'.repeat(39)}…`],
  ['a\x1b[2Jb\nc', 'a [2Jb c'],
])('%j is shown as %j', (key, short) => {
  expect(shortKey(key)).toBe(short);
});
