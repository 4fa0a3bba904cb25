import { expect, test } from 'vitest';
import { ManualClock } from '../backends/memory/index.ts';
import { Places } from './places.ts';

const tick = () => new Promise((resolve) => setImmediate(resolve));
const noRoom = async () => false;

/** Says of a promise whether it has come to an end, and how. */
function outcome(promise: Promise<unknown>): { now: string } {
  const seen = { now: 'waits' };
  promise.then(
    () => {
      seen.now = 'has it';
    },
    (error) => {
      seen.now = error.code;
    },
  );
  return seen;
}

test('there are never more than the limit, those that are asked for at once included', async () => {
  const places = new Places(3, new ManualClock(), noRoom);
  const asked = Array.from({ length: 10 }, (_, index) => outcome(places.take(`vm${index}`)));
  await tick();
  expect(asked.map(({ now }) => now)).toEqual([...Array(3).fill('has it'), ...Array(7).fill('AtCapacity')]);
  expect(places.taken).toBe(3);
});

test('a full pool says so in the words of the spec', async () => {
  const places = new Places(2, new ManualClock(), noRoom);
  await places.take('a');
  await places.take('b');
  await expect(places.take('c')).rejects.toMatchObject({
    message: 'VM pool is at capacity (2 sessions)',
    details: { limit: 'sessions', max: 2, asked: 1, taken: 2 },
  });
});

test('places that are given back go to those who wait, in the order of asking', async () => {
  const places = new Places(1, new ManualClock(), noRoom);
  await places.take('a');
  const waiting = ['b', 'c', 'd'].map((id) => outcome(places.take(id, { waitMs: 1000 })));
  const seen = () => waiting.map(({ now }) => now);
  for (const [index, id] of ['a', 'b', 'c'].entries()) {
    places.release(id);
    await tick();
    expect(seen()).toEqual(['b', 'c', 'd'].map((_, at) => (at <= index ? 'has it' : 'waits')));
  }
});

test('who does not wait does not overtake who does', async () => {
  let room = Promise.withResolvers<boolean>();
  const places = new Places(1, new ManualClock(), () => room.promise);
  await places.take('a');
  const patient = outcome(places.take('b', { waitMs: 1000 }));
  const other = outcome(places.take('c'));
  const made = room;
  room = Promise.withResolvers();
  places.release('a');
  await tick();
  expect([patient.now, other.now]).toEqual(['has it', 'waits']);
  made.resolve(false);
  room.resolve(false);
  await tick();
  expect(other.now).toBe('AtCapacity');
});

test('waiting ends when its time is over, or the caller gives up; and leaves no trace', async () => {
  const clock = new ManualClock();
  const places = new Places(1, clock, noRoom);
  await places.take('a');
  const abort = new AbortController();
  const late = outcome(places.take('b', { waitMs: 100 }));
  const cancelled = outcome(places.take('c', { waitMs: 1000, signal: abort.signal }));
  const last = outcome(places.take('d', { waitMs: 1000 }));
  await tick();
  abort.abort();
  await clock.advance(100);
  expect([late.now, cancelled.now]).toEqual(['AtCapacity', 'Cancelled']);
  expect(places.waiting).toBe(1);
  places.release('a');
  await tick();
  expect(last.now).toBe('has it');
  expect(clock.waiting).toBe(0);
});

test('room is made for who waits, by one at a time', async () => {
  const held = ['a', 'b'];
  let rounds = 0;
  const places: Places = new Places(2, new ManualClock(), async () => {
    expect(++rounds).toBe(1);
    await tick();
    const id = held.shift();
    if (id) places.release(id);
    rounds--;
    return id !== undefined;
  });
  await places.take('a');
  await places.take('b');
  const asked = ['c', 'd', 'e'].map((id) => outcome(places.take(id)));
  for (let turn = 0; turn < 10; turn++) await tick();
  expect(asked.map(({ now }) => now)).toEqual(['has it', 'has it', 'AtCapacity']);
  expect(places.taken).toBe(2);
});

test('who waits is looked after again when something has changed', async () => {
  let mayGo = false;
  const places: Places = new Places(1, new ManualClock(), async () => {
    if (mayGo) places.release('a');
    return mayGo;
  });
  await places.take('a');
  const asked = outcome(places.take('b', { waitMs: 1000 }));
  await tick();
  expect(asked.now).toBe('waits');
  mayGo = true;
  places.reconsider();
  await tick();
  expect(asked.now).toBe('has it');
});

test('a change while room is being made is not missed', async () => {
  const begun = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  let rounds = 0;
  const places: Places = new Places(1, new ManualClock(), async () => {
    if (++rounds > 1) {
      places.release('a');
      return true;
    }
    begun.resolve();
    await go.promise;
    return false;
  });
  await places.take('a');
  const asked = outcome(places.take('b'));
  await begun.promise;
  places.reconsider();
  go.resolve();
  await tick();
  await tick();
  expect([asked.now, rounds]).toEqual(['has it', 2]);
});

test('making room that throws is as if there was none', async () => {
  const places = new Places(1, new ManualClock(), () => Promise.reject(new Error('of the disk')));
  await places.take('a');
  await expect(places.take('b')).rejects.toHaveProperty('code', 'AtCapacity');
});

test('machines that were found count, also beyond the limit', async () => {
  const places = new Places(1, new ManualClock(), noRoom);
  for (const id of ['a', 'b', 'c']) places.adopt(id);
  places.release('a');
  places.release('b');
  await expect(places.take('d')).rejects.toHaveProperty('code', 'AtCapacity');
  places.release('c');
  await places.take('d');
  expect(places.taken).toBe(1);
});

test('a place is given back once', async () => {
  const places = new Places(2, new ManualClock(), noRoom);
  await places.take('a');
  await places.take('b');
  places.release('a');
  places.release('a');
  places.release('unknown');
  expect(places.taken).toBe(1);
});
