import { expect, test } from 'vitest';
import { untilDetachKey } from './detach-key.ts';

test.each([
  ['ls\r', 'ls\r', false],
  ['\x1d', '', true],
  ['ls\x1dx\x1d', 'ls', true],
  ['a\x1b[93;5ub', 'a', true],
  ['a\x1b[27;5;93~', 'a', true],
  ['\x1b[A]ü', '\x1b[A]ü', false],
])('%j', (typed, keys, detach) => {
  const split = untilDetachKey(Buffer.from(typed));
  expect([Buffer.from(split.keys).toString(), split.detach]).toEqual([keys, detach]);
});
