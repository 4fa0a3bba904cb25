import { expect, test } from 'vitest';
import { BufferPool } from './buffer-pool.ts';

test('what was given back is used again, and nobody else has it meanwhile', () => {
  const pool = new BufferPool(100, 8);
  const [one, two] = [pool.take(100), pool.take(7)];
  expect([one.length, two.length]).toEqual([100, 7]);
  expect(one.buffer).not.toBe(two.buffer);
  pool.give(two);
  const three = pool.take(50);
  expect(three.buffer).toBe(two.buffer);
  expect(three.length).toBe(50);
});

test('a buffer that is given twice, is a part of one, or came from elsewhere is not given to two', () => {
  const pool = new BufferPool(100, 8);
  const buffer = pool.take(100);
  pool.give(buffer.subarray(0, 50));
  pool.give(Buffer.alloc(100));
  const other = pool.take(100);
  expect(other.buffer).not.toBe(buffer.buffer);
  pool.give(buffer);
  pool.give(buffer);
  expect(pool.take(1).buffer).not.toBe(pool.take(1).buffer);
});

test('no more are kept than it is told', () => {
  const pool = new BufferPool(10, 1);
  const taken = [pool.take(10), pool.take(10)];
  for (const buffer of taken) pool.give(buffer);
  const again = new Set([pool.take(10), pool.take(10)].map(({ buffer }) => buffer));
  expect(taken.filter(({ buffer }) => again.has(buffer))).toHaveLength(1);
});
