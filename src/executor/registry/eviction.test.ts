import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { entryOf, RegistryFixture } from '../../../test/executor/registry-fixture.ts';
import type { NewEntry } from './entry.ts';
import type { Registry } from './registry.ts';

const nowMs = 1_700_000_000_000;
let fixture: RegistryFixture;
let registry: Registry;
/** In place of the one that is open. */
function open(limits: ConstructorParameters<typeof RegistryFixture>[0]): void {
  fixture[Symbol.dispose]();
  fixture = new RegistryFixture(limits);
  registry = fixture.registry;
}
beforeEach(() => {
  fixture = new RegistryFixture();
  registry = fixture.registry;
});
afterEach(() => fixture[Symbol.dispose]());

const put = (key: string, more: Partial<NewEntry> = {}) => registry.put(entryOf(key, more), { nowMs });
const keys = () => registry.list().map(({ key }) => key);

describe('least recently used goes first', () => {
  test('by true order, however many puts fall into one instant, and never the entry just put', () => {
    open({ maxEntries: 3 });
    const gone = ['a', 'b', 'c', 'd', 'e'].map((key) => put(key));
    expect(gone).toEqual([[], [], [], ['vm/a'], ['vm/b']]);
    expect(keys()).toEqual(['e', 'd', 'c']);
  });

  test('also when the clock goes back', () => {
    open({ maxEntries: 2 });
    registry.put(entryOf('a'), { nowMs });
    registry.put(entryOf('b'), { nowMs: nowMs - 3_600_000 });
    expect(registry.put(entryOf('c'), { nowMs: nowMs - 7_200_000 })).toEqual(['vm/a']);
  });

  test('where a hit is a use, and a look is none', () => {
    open({ maxEntries: 2 });
    put('a');
    put('b');
    registry.get('a', { nowMs });
    registry.peek('b');
    registry.list();
    expect(put('c')).toEqual(['vm/b']);
  });

  test('across reopenings', () => {
    open({ maxEntries: 3 });
    for (const key of ['a', 'b', 'c']) put(key);
    registry = fixture.reopen();
    registry.get('a', { nowMs });
    registry = fixture.reopen();
    expect(put('d')).toEqual(['vm/b']);
    expect(put('e')).toEqual(['vm/c']);
    expect(put('f')).toEqual(['vm/a']);
  });

  test('with the history of the key saying why', () => {
    open({ maxEntries: 1 });
    put('a');
    registry.put(entryOf('b'), { nowMs: nowMs + 5 });
    expect(registry.history('a')).toEqual({
      reason: 'evicted',
      atMs: nowMs + 5,
      detail: 'there were more than 1 entries',
    });
  });
});

describe('a snapshot in use is not evicted, and the next one goes', () => {
  beforeEach(() => open({ maxEntries: 2 }));

  test('when another entry was made from it', () => {
    put('base');
    put('step', { parent: 'vm/base' });
    expect(put('other')).toEqual(['vm/step']);
    expect(put('more')).toEqual(['vm/base']);
  });

  test('when the entry just put was made from it', () => {
    open({ maxEntries: 1 });
    put('base');
    expect(put('step', { parent: 'vm/base' })).toEqual([]);
    expect(registry.totals()).toEqual({ entries: 2, bytes: 200, pinnedByChildren: 1 });
    expect(put('other')).toEqual(['vm/step', 'vm/base']);
  });

  test('when its child was there before it', () => {
    put('step', { parent: 'vm/base' });
    put('base');
    registry.get('step', { nowMs });
    expect(registry.totals().pinnedByChildren).toBe(1);
    expect(put('other')).toEqual(['vm/step']);
    expect(registry.totals().pinnedByChildren).toBe(0);
  });

  test('when it is leased, as often as it is', () => {
    put('a');
    put('b');
    const leases = [registry.lease('vm/a'), registry.lease('vm/a')];
    expect(put('c')).toEqual(['vm/b']);
    leases[0]?.[Symbol.dispose]();
    leases[0]?.[Symbol.dispose]();
    expect(put('d')).toEqual(['vm/c']);
    leases[1]?.[Symbol.dispose]();
    expect(put('e')).toEqual(['vm/a']);
  });

  test('when it was leased before it had an entry', () => {
    using _lease = registry.lease('vm/a');
    put('a');
    put('b');
    expect(put('c')).toEqual(['vm/b']);
  });

  test('when something else pins it', () => {
    put('a');
    put('b');
    fixture.pinned.add('vm/a');
    expect(put('c')).toEqual(['vm/b']);
  });

  test('and where nothing can go, the limits are exceeded until something can', () => {
    put('a');
    put('b');
    const leases = [registry.lease('vm/a'), registry.lease('vm/b')];
    expect(put('c')).toEqual([]);
    expect(registry.totals().entries).toBe(3);
    for (const lease of leases) lease[Symbol.dispose]();
    expect(registry.evict({ nowMs }).map(({ key }) => key)).toEqual(['a']);
  });
});

describe('bytes', () => {
  test('are limited as the count is', () => {
    open({ maxBytes: 300 });
    put('a');
    put('b', { sizeBytes: 150 });
    expect(put('c', { sizeBytes: 120 })).toEqual(['vm/a']);
    expect(put('d', { sizeBytes: 300 })).toEqual(['vm/b', 'vm/c']);
    expect(put('e', { sizeBytes: 301 })).toEqual(['vm/d']);
    expect(registry.totals()).toMatchObject({ entries: 1, bytes: 301 });
    expect(registry.history('a')?.detail).toBe('the cache took more than 300 bytes');
  });

  test('are not evicted below the reserve for their own sake or for age, and are for the count', () => {
    open({ maxBytes: 300, reservedBytes: 250, maxEntries: 3 });
    put('a', { sizeBytes: 200 });
    expect(put('b', { sizeBytes: 200 })).toEqual([]);
    expect(registry.evict({ nowMs: nowMs + 10, unusedForMs: 0 })).toEqual([]);
    expect(put('c', { sizeBytes: 60 })).toEqual(['vm/a']);
    put('d', { sizeBytes: 1 });
    expect(put('e', { sizeBytes: 1 })).toEqual(['vm/b']);
    expect(registry.totals().bytes).toBe(62);
  });
});

describe('evicting what was not used for long', () => {
  const at = (time: number) => ({ nowMs: nowMs + time });
  const evict = (time: number, unusedForMs: number) =>
    registry.evict({ ...at(time), unusedForMs }).map(({ key }) => key);

  test('goes by the last use, and chains go from their ends', () => {
    registry.put(entryOf('base'), at(0));
    registry.put(entryOf('step', { parent: 'vm/base' }), at(10));
    registry.put(entryOf('fresh'), at(20));
    registry.put(entryOf('old'), at(20));
    registry.get('fresh', at(90));
    expect(evict(100, 85)).toEqual(['step', 'base']);
    expect(registry.history('base')?.detail).toBe('it was not used since 2023-11-14T22:13:20.000Z');
    expect(evict(100, 80)).toEqual(['old']);
    expect(evict(100, 80)).toEqual([]);
    expect(keys()).toEqual(['fresh']);
  });

  test('leaves what was used when the clock was ahead', () => {
    registry.put(entryOf('ahead'), at(1000));
    registry.put(entryOf('old'), at(0));
    expect(evict(100, 50)).toEqual(['old']);
    expect(evict(1050, 50)).toEqual(['ahead']);
  });

  test('leaves what is leased', () => {
    put('a');
    put('b');
    using _lease = registry.lease('vm/a');
    expect(evict(100, 50)).toEqual(['b']);
  });

  test('can be tried first', () => {
    for (const key of ['a', 'b', 'c']) put(key);
    const planned = registry.evict({ ...at(100), unusedForMs: 50, dryRun: true });
    expect(keys()).toEqual(['c', 'b', 'a']);
    expect(registry.history('a')).toBeUndefined();
    expect(registry.totals()).toMatchObject({ entries: 3, bytes: 300 });
    expect(registry.evict({ ...at(100), unusedForMs: 50 })).toEqual(planned);
    expect(keys()).toEqual([]);
  });
});

test('limits that were lowered hold after the next put, or when asked to', () => {
  for (const key of ['a', 'b', 'c', 'd']) put(key);
  registry = fixture.reopen({ maxEntries: 2 });
  expect(registry.evict({ nowMs }).map(({ key }) => key)).toEqual(['a', 'b']);
  registry = fixture.reopen({ maxEntries: 1 });
  expect(put('e')).toEqual(['vm/c', 'vm/d']);
});
