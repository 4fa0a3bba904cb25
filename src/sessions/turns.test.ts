import { expect, test } from 'vitest';
import { ManualClock } from '../backends/memory/index.ts';
import type { LeaseMode } from './lease.ts';
import { type Turn, type TurnOptions, Turns } from './turns.ts';

const clock = new ManualClock();

/** Callers that ask one after the other, and what becomes of each. */
function askers(modes: readonly LeaseMode[], options: readonly (TurnOptions | undefined)[] = []) {
  const turns = new Turns(clock);
  const granted: number[] = [];
  const held = new Map<number, Turn>();
  const places = modes.map((): number[] => []);
  const ends = modes.map((mode, index) =>
    turns
      .take('s', mode, { onQueued: (place) => void places[index]?.push(place), ...options[index] })
      .then((turn) => {
        granted.push(index);
        held.set(index, turn);
      }),
  );
  for (const end of ends) end.catch(() => undefined);
  const has = () => [...held.keys()].sort((a, b) => a - b);
  const release = async (index: number) => {
    held.get(index)?.release();
    held.delete(index);
    await tick();
  };
  return { turns, granted, places, ends, has, release };
}

const tick = () => new Promise((resolve) => setImmediate(resolve));

test('exclusive turns come one at a time, in the order of asking', async () => {
  const { granted, has, release } = askers(['exclusive', 'exclusive', 'exclusive', 'exclusive']);
  for (const index of [0, 1, 2, 3]) {
    await tick();
    expect(has()).toEqual([index]);
    await release(index);
  }
  expect(granted).toEqual([0, 1, 2, 3]);
});

test.for<[string, LeaseMode[], number[]]>([
  ['shared ones come together', ['shared', 'shared', 'shared'], [0, 1, 2]],
  ['an exclusive one waits for shared ones', ['shared', 'shared', 'exclusive'], [0, 1]],
  ['a shared one waits for an exclusive one', ['exclusive', 'shared'], [0]],
  ['a shared one does not overtake an exclusive one that waits', ['shared', 'exclusive', 'shared'], [0]],
])('%s', async ([, modes, expected]) => {
  const { has } = askers(modes);
  await tick();
  expect(has()).toEqual(expected);
});

test('after an exclusive turn all shared ones up to the next exclusive one come in', async () => {
  const { has, release } = askers(['exclusive', 'shared', 'shared', 'exclusive', 'shared']);
  await tick();
  await release(0);
  expect(has()).toEqual([1, 2]);
  await release(1);
  expect(has()).toEqual([2]);
  await release(2);
  expect(has()).toEqual([3]);
  await release(3);
  expect(has()).toEqual([4]);
});

test('different sessions know nothing of each other', async () => {
  const turns = new Turns(clock);
  await turns.take('a', 'exclusive');
  expect(turns.tryTake('b', 'exclusive')).toBeDefined();
});

test('who waits is told its place, and every change of it', async () => {
  const { places, release } = askers(['exclusive', 'exclusive', 'exclusive', 'exclusive']);
  await tick();
  expect(places).toEqual([[], [1], [2], [3]]);
  await release(0);
  expect(places).toEqual([[], [1], [2, 1], [3, 2]]);
});

test('who gives up leaves no trace, and those behind move up', async () => {
  const abort = new AbortController();
  const { turns, ends, places, has, release } = askers(
    ['exclusive', 'exclusive', 'exclusive'],
    [undefined, { signal: abort.signal }],
  );
  await tick();
  abort.abort();
  await expect(ends[1]).rejects.toHaveProperty('code', 'Cancelled');
  expect(places[2]).toEqual([2, 1]);
  expect(turns.waiting('s')).toBe(1);
  await release(0);
  expect(has()).toEqual([2]);
  await release(2);
  expect(turns.isTaken('s')).toBe(false);
});

test('when an exclusive one gives up, the shared ones behind it join those that are in', async () => {
  const abort = new AbortController();
  const { has } = askers(['shared', 'exclusive', 'shared'], [undefined, { signal: abort.signal }]);
  await tick();
  abort.abort();
  await tick();
  expect(has()).toEqual([0, 2]);
});

test('a caller that was cancelled before it asked gets nothing', async () => {
  const turns = new Turns(clock);
  await expect(turns.take('s', 'exclusive', { signal: AbortSignal.abort() })).rejects.toHaveProperty(
    'code',
    'Cancelled',
  );
  expect(turns.isTaken('s')).toBe(false);
});

test('a turn that came in the instant of giving up is had, not lost', async () => {
  const abort = new AbortController();
  const { turns, has, release } = askers(['exclusive', 'exclusive'], [undefined, { signal: abort.signal }]);
  await tick();
  const done = release(0);
  abort.abort();
  await done;
  expect(has()).toEqual([1]);
  await release(1);
  expect(turns.isTaken('s')).toBe(false);
});

test('waiting ends when its time is over, and says who is in the way', async () => {
  const { ends, turns } = askers(['exclusive', 'exclusive', 'exclusive'], [undefined, { waitMs: 500 }]);
  await tick();
  await clock.advance(499);
  expect(turns.waiting('s')).toBe(2);
  await clock.advance(1);
  await expect(ends[1]).rejects.toMatchObject({
    code: 'SessionBusy',
    details: { sessionId: 's', leases: 1, waiting: 1 },
  });
});

test('no timer is left when a turn came in time', async () => {
  const before = clock.waiting;
  const { has, release } = askers(['exclusive', 'exclusive'], [undefined, { waitMs: 500 }]);
  await tick();
  await release(0);
  expect(has()).toEqual([1]);
  expect(clock.waiting).toBe(before);
});

test('a turn is given back once, however often it is released', async () => {
  const turns = new Turns(clock);
  const first = await turns.take('s', 'exclusive');
  first.release();
  const second = await turns.take('s', 'exclusive');
  first.release();
  first[Symbol.dispose]();
  expect(turns.tryTake('s', 'exclusive')).toBeUndefined();
  second.release();
  expect(turns.isTaken('s')).toBe(false);
});

test('who does not wait takes no turn before those who do', async () => {
  const { turns, release, has } = askers(['shared', 'exclusive']);
  await tick();
  expect(turns.tryTake('s', 'shared')).toBeUndefined();
  await release(0);
  expect(has()).toEqual([1]);
});

test.for([
  ['at once', 1],
  ['later', 2],
] as const)('a caller whose callback throws %s gets its own error and is in nobody’s way', async ([, at]) => {
  const onQueued = (place: number) => {
    if (place === 3 - at || at === 1) throw new Error('of the callback');
  };
  const { ends, has, release, turns } = askers(
    ['exclusive', 'exclusive', 'exclusive', 'exclusive'],
    [undefined, undefined, { onQueued }],
  );
  await tick();
  await release(0);
  await expect(ends[2]).rejects.toThrow('of the callback');
  expect(has()).toEqual([1]);
  await release(1);
  expect(has()).toEqual([3]);
  await release(3);
  expect(turns.isTaken('s')).toBe(false);
});
