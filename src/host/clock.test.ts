import { getEventListeners } from 'node:events';
import { expect, test } from 'vitest';
import { systemClock } from './clock.ts';

test('a sleep ends, and leaves no listener on its signal', async () => {
  const { signal } = new AbortController();
  await systemClock.sleep(0, signal);
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});

test('a sleep that is given up rejects with the reason, before or during it', async () => {
  const controller = new AbortController();
  const sleeping = expect(systemClock.sleep(60_000, controller.signal)).rejects.toThrow('enough');
  controller.abort(new Error('enough'));
  await sleeping;
  await expect(systemClock.sleep(60_000, controller.signal)).rejects.toThrow('enough');
});

test('a timer that is cancelled does not ring', async () => {
  systemClock.timer(0, () => expect.unreachable())();
  const { promise, resolve } = Promise.withResolvers<void>();
  systemClock.timer(0, resolve);
  await Promise.race([promise, systemClock.sleep(10_000)]);
});

test('what lies further ahead than Node can count does not ring at once', async () => {
  const cancel = systemClock.timer(2 ** 40, () => expect.unreachable());
  const controller = new AbortController();
  const sleeping = systemClock.sleep(2 ** 40, controller.signal).then(
    () => 'slept',
    () => 'given up',
  );
  await systemClock.sleep(20);
  controller.abort();
  expect(await sleeping).toBe('given up');
  cancel();
});

test('monotonic time does not go back', () => {
  const first = systemClock.monotonic();
  expect(systemClock.monotonic()).toBeGreaterThanOrEqual(first);
  expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(1000);
});
