import { expect, test } from 'vitest';
import { ManualClock } from './manual-clock.ts';

test('time passes only when told, and wakes sleepers in order', async () => {
  const clock = new ManualClock(1000);
  const woken: number[] = [];
  for (const ms of [300, 100, 200]) void clock.sleep(ms).then(() => woken.push(ms));
  await clock.advance(199);
  expect(woken).toEqual([100]);
  await clock.advance(101);
  expect(woken).toEqual([100, 200, 300]);
  expect(clock.now()).toBe(1300);
  expect(clock.monotonic()).toBe(300);
});

test('what a waker starts is woken in the same stretch when it falls due', async () => {
  const clock = new ManualClock();
  const seen: number[] = [];
  void (async () => {
    for (let round = 0; round < 3; round++) {
      await clock.sleep(10);
      seen.push(clock.monotonic());
    }
  })();
  await clock.advance(30);
  expect(seen).toEqual([10, 20, 30]);
});

test('a sleep that is given up leaves no alarm behind', async () => {
  const clock = new ManualClock();
  const controller = new AbortController();
  const sleeping = expect(clock.sleep(10, controller.signal)).rejects.toThrow('enough');
  await clock.whenWaiting();
  controller.abort(new Error('enough'));
  await sleeping;
  expect(clock.waiting).toBe(0);
  clock.timer(5, () => expect.unreachable())();
  await clock.advance(100);
});
