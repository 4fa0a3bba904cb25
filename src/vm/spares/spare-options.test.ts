import { expect, test } from 'vitest';
import { type WarmOptions, warmOptions } from './spare-options.ts';

test('what is not said has its default; memory follows the limit of all VMs', () => {
  expect(warmOptions({}, 4098)).toEqual({
    pool: 'off',
    atClose: 'give-up',
    perImage: 1,
    perShape: 1,
    perSnapshot: 1,
    max: 8,
    memoryMiB: 1024,
    idleMs: 600_000,
    minFreeMemoryMiB: 512,
    minFreeDiskMiB: 1024,
  });
  expect(warmOptions({ memoryMiB: 10, perImage: 0 }, 4098)).toMatchObject({ memoryMiB: 10, perImage: 0 });
});

const wrong: [field: string, options: object][] = [
  ['warm.max', { max: -1 }],
  ['warm.idleMs', { idleMs: 0.5 }],
  ['warm.pool', { pool: true }],
  ['warm.maximum', { maximum: 3 }],
];

test.each(wrong)('%s is refused by name', (field, options) => {
  expect(() => warmOptions(options as Partial<WarmOptions>, 1024)).toThrowError(
    expect.objectContaining({ code: 'InvalidInput', details: { field } }),
  );
});
