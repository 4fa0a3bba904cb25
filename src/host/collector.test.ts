import { expect, test } from 'vitest';
import { Collector } from './collector.ts';

/** What a finalizer sees is what was collected. */
test('buffers that nobody uses are collected while a stream goes by', async () => {
  const collected: number[] = [];
  const registry = new FinalizationRegistry<number>((index) => collected.push(index));
  const collector = new Collector();
  for (let index = 0; index < 200; index++) {
    const buffer = Buffer.allocUnsafeSlow(256 << 10);
    registry.register(buffer, index);
    collector.passed(buffer.length);
    await new Promise(setImmediate); // Finalizers have turns of their own.
  }
  expect(collected.length).toBeGreaterThan(100);
});
