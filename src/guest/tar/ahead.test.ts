import { expect, test } from 'vitest';
import { loadAhead } from './ahead.ts';

async function* numbers(count: number) {
  for (let i = 0; i < count; i++) yield i;
}

async function all<T>(results: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = [];
  for await (const result of results) collected.push(result);
  return collected;
}

test('results come in order, however long each takes, with no more under way than allowed', async () => {
  let underWay = 0;
  let most = 0;
  const results = loadAhead(numbers(20), 4, async (i) => {
    most = Math.max(most, ++underWay);
    for (let turns = 0; turns < 20 - i; turns++) await null;
    underWay--;
    return i;
  });
  expect(await all(results)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  expect(most).toBe(4);
});

test('a failure comes when it is its turn, and those behind it are nobody’s', async () => {
  const seen: number[] = [];
  const results = loadAhead(numbers(10), 8, async (i) => {
    if (i >= 3) throw new Error(`no ${i}`);
    return i;
  });
  const reading = (async () => {
    for await (const result of results) seen.push(result);
  })();
  await expect(reading).rejects.toThrow('no 3');
  expect(seen).toEqual([0, 1, 2]);
});
