import { expect, test } from 'vitest';
import { Lanes } from './lanes.ts';

/** Work that notes when it begins and ends when told. */
function slowWork(log: string[], name: string) {
  const end = Promise.withResolvers<void>();
  return {
    end: end.resolve,
    fail: end.reject,
    run: async () => {
      log.push(`${name} begins`);
      await end.promise;
      log.push(`${name} ends`);
      return name;
    },
  };
}

test('calls of one lane are taken in the order they came, each after the end of the one before', async () => {
  const lanes = new Lanes();
  const log: string[] = [];
  const works = ['a', 'b', 'c'].map((name) => slowWork(log, name));
  const calls = works.map((work) => lanes.run('vm', 'a call', work.run, undefined));
  for (const work of works.toReversed()) work.end();
  expect(await Promise.all(calls)).toEqual(['a', 'b', 'c']);
  expect(log).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
});

test('a call that fails lets the next one have its turn', async () => {
  const lanes = new Lanes();
  const first = lanes.run('vm', 'a call', () => Promise.reject(new Error('no')), undefined);
  const second = lanes.run('vm', 'a call', async () => 'done', undefined);
  await expect(first).rejects.toThrow('no');
  expect(await second).toBe('done');
});

test('different lanes do not wait for each other', async () => {
  const lanes = new Lanes();
  const blocked = slowWork([], 'blocked');
  const waiting = lanes.run('a', 'a call', blocked.run, undefined);
  expect(await lanes.run('b', 'a call', async () => 'free', undefined)).toBe('free');
  blocked.end();
  await waiting;
});

test('a caller that gives up while it waits never begins, and those behind it keep their places', async () => {
  const lanes = new Lanes();
  const log: string[] = [];
  const controller = new AbortController();
  const first = slowWork(log, 'first');
  const calls = [
    lanes.run('vm', 'first', first.run, undefined),
    lanes.run('vm', 'second', async () => log.push('second'), controller.signal),
    lanes.run('vm', 'third', async () => log.push('third'), undefined),
  ];
  controller.abort(new Error('changed my mind'));
  await expect(calls[1]).rejects.toMatchObject({ code: 'Cancelled', message: 'second was cancelled' });
  first.end();
  await Promise.all([calls[0], calls[2]]);
  expect(log).toEqual(['first begins', 'first ends', 'third']);
});

test('a signal that has fired already refuses at once, and one that fires later does not end work under way', async () => {
  const lanes = new Lanes();
  await expect(
    lanes.run('vm', 'late', async () => expect.unreachable(), AbortSignal.abort()),
  ).rejects.toMatchObject({ code: 'Cancelled' });
  const controller = new AbortController();
  const work = slowWork([], 'work');
  const call = lanes.run('vm', 'a call', work.run, controller.signal);
  controller.abort();
  work.end();
  expect(await call).toBe('work');
});

test('idle resolves when nothing is under way', async () => {
  const lanes = new Lanes();
  await lanes.idle();
  const work = slowWork([], 'work');
  const call = lanes.run('vm', 'a call', work.run, undefined);
  let idle = false;
  const waiting = lanes.idle().then(() => {
    idle = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(idle).toBe(false);
  work.end();
  await Promise.all([call, waiting]);
});
