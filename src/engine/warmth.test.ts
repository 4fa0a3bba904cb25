import { expect, test } from 'vitest';
import { configSchema } from '../config/index.ts';
import { warmthOf } from './warmth.ts';

const configured = (warm: object) => configSchema.parse({ warm });

test('nothing is made ahead of need unless it was configured or asked for', () => {
  expect(warmthOf(configured({}), undefined)).toMatchObject({ pool: 'off' });
  expect(warmthOf(configured({ pool: 'on' }), undefined)).toMatchObject({ pool: 'on', perImage: 1, max: 8 });
});

test('asking at all turns the pool on, with what is configured where nothing else was asked', () => {
  const config = configured({ max: 3, idle_ms: 1000, memory_mib: 700, at_close: 'keep' });
  expect(warmthOf(config, {})).toMatchObject({
    pool: 'on',
    max: 3,
    idleMs: 1000,
    memoryMiB: 700,
    atClose: 'keep',
  });
  expect(warmthOf(config, { max: 5, perImage: 2 })).toMatchObject({
    pool: 'on',
    max: 5,
    perImage: 2,
    idleMs: 1000,
  });
  expect(warmthOf(config, { pool: 'off', max: 5 })).toMatchObject({ pool: 'off', max: 5 });
});

test('the memory of machines that wait follows the limit on memory where nothing is said of it', () => {
  expect(warmthOf(configured({}), {})).not.toHaveProperty('memoryMiB');
});
