import { expect, test } from 'vitest';
import { maxMemoryLayers, mergeFrom } from './index.ts';

const layers = (count: number, size: number): number[] => Array(count).fill(size);

test.each<[what: string, sizes: number[], from: number | undefined]>([
  ['a stack that is not too high stays', layers(maxMemoryLayers, 100), undefined],
  ['a large lowest layer stays out', [60, ...layers(maxMemoryLayers, 1)], 1],
  ['it is taken in when as much lies above it', [32, ...layers(maxMemoryLayers, 1)], 0],
  ['what was merged before stays out too', [60, 30, ...layers(maxMemoryLayers - 1, 0.5)], 2],
  ['half of the stack goes whatever their sizes', [...layers(16, 100), 200, ...layers(16, 1)], 17],
])('%s', (_what, sizes, from) => {
  expect(mergeFrom(sizes)).toBe(from);
});

test.each([0.2, 2, 22])(
  'over a long line of snapshots of %s MB each, merging writes no more than 2.5 times what they do',
  (snapshot) => {
    const ram = 256;
    const stack = [55];
    let written = 0;
    for (let count = 0; count < 10_000; count++) {
      stack.push(snapshot);
      const from = mergeFrom(stack);
      // The worst case: what is merged has no page twice.
      if (from !== undefined) stack.push(Math.min(ram, sum(stack.splice(from))));
      if (from !== undefined) written += stack.at(-1) ?? 0;
      expect(stack.length).toBeLessThanOrEqual(maxMemoryLayers);
    }
    expect(written / 10_000).toBeLessThan(2.5 * snapshot);
  },
);

function sum(sizes: readonly number[]): number {
  return sizes.reduce((all, size) => all + size, 0);
}
