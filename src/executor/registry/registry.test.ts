import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { entryOf, RegistryFixture } from '../../../test/executor/registry-fixture.ts';
import type { StoredInputs } from '../keys/inputs.ts';
import type { NewEntry } from './entry.ts';
import { Registry } from './registry.ts';

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

test('what was put is found, and is still there after a reopening', () => {
  const inputs: StoredInputs = {
    values: { command: { text: 'make' }, 'env.TOKEN': { digest: 'd' } },
    trees: [],
  };
  put('base');
  put('key', {
    snapshot: 'vm/key',
    parent: 'vm/base',
    name: 'build',
    sizeBytes: 7,
    durationMs: 12.5,
    inputs,
  });
  for (const hits of [1, 2]) {
    const found = registry.get('key', { nowMs: nowMs + hits });
    expect(found).toEqual({
      expired: false,
      entry: {
        key: 'key',
        snapshot: 'vm/key',
        parent: 'vm/base',
        name: 'build',
        sizeBytes: 7,
        createdAtMs: nowMs,
        lastUsedAtMs: nowMs + hits,
        hits,
        exitCode: 0,
        durationMs: 12.5,
      },
    });
    expect(registry.peek('key')).toEqual(found?.entry);
    expect(registry.bySnapshot('vm/key')).toEqual(found?.entry);
    expect(Buffer.from(registry.output('key') ?? []).toString()).toBe('output of key');
    expect(registry.inputs('key')).toEqual(inputs);
    expect(registry.totals()).toEqual({ entries: 2, bytes: 107, pinnedByChildren: 1 });
    registry = fixture.reopen();
  }
});

test('of a key that was never put, nothing is known', () => {
  expect(registry.get('key', { nowMs })).toBeUndefined();
  expect(registry.peek('key')).toBeUndefined();
  expect(registry.output('key')).toBeUndefined();
  expect(registry.inputs('key')).toBeUndefined();
  expect(registry.history('key')).toBeUndefined();
  expect(registry.bySnapshot('vm/key')).toBeUndefined();
});

test('an entry whose inputs nobody knows has none', () => {
  put('key');
  expect(registry.inputs('key')).toBeUndefined();
  expect(registry.candidates({ inputs: { values: {}, trees: [] } }, 3)).toEqual([]);
});

describe('a replaced key does not leak its snapshot', () => {
  test('which is returned', () => {
    expect(put('key', { snapshot: 'vm/old', sizeBytes: 1, output: new Uint8Array([1]) })).toEqual([]);
    expect(put('key', { snapshot: 'vm/new', sizeBytes: 2, output: new Uint8Array([2]) })).toEqual(['vm/old']);
    expect(registry.output('key')).toEqual(new Uint8Array([2]));
    expect(registry.bySnapshot('vm/old')).toBeUndefined();
    expect(registry.totals()).toMatchObject({ entries: 1, bytes: 2 });
    expect(registry.history('key')).toBeUndefined();
  });

  test('also when another is evicted by the same put', () => {
    open({ maxBytes: 250 });
    put('a');
    put('key', { snapshot: 'vm/old' });
    expect(put('key', { snapshot: 'vm/new', sizeBytes: 200 })).toEqual(['vm/old', 'vm/a']);
  });

  test('unless the new entry has the same one', () => {
    put('key', { name: 'before' });
    expect(put('key', { name: 'after' })).toEqual([]);
    expect(registry.peek('key')).toMatchObject({ snapshot: 'vm/key', name: 'after' });
  });
});

test('a snapshot is that of one entry', () => {
  put('key', { snapshot: 'vm/it' });
  const taken = expect.objectContaining({ code: 'InvalidInput', details: { field: 'snapshot' } });
  expect(() => put('other', { snapshot: 'vm/it' })).toThrowError(taken);
  expect(keys()).toEqual(['key']);
});

describe('an entry that is too old', () => {
  const get = (ageMs: number, maxAgeMs?: number) =>
    registry.get('a', { nowMs: nowMs + ageMs, ...(maxAgeMs !== undefined && { maxAgeMs }) });

  test('is expired, and is not made the most recently used', () => {
    open({ maxEntries: 2 });
    put('a');
    put('b');
    const before = registry.peek('a');
    expect(get(1001, 1000)).toEqual({ entry: before, expired: true });
    expect(registry.peek('a')).toEqual(before);
    expect(put('c')).toEqual(['vm/a']);
  });

  test('is not, at that age exactly', () => {
    put('a');
    expect(get(1000, 1000)?.expired).toBe(false);
  });

  test('is one whose age is not known, because the clock was set back', () => {
    put('a');
    expect(get(-1, 1000)?.expired).toBe(true);
    expect(registry.peek('a')?.hits).toBe(0);
  });

  test('does not exist where no age is asked for', () => {
    put('a');
    expect(get(1e12)?.expired).toBe(false);
    expect(get(-1e12)?.expired).toBe(false);
  });
});

describe('invalidating', () => {
  test('removes an entry with all that is known of it, and says why it is gone', () => {
    put('a', { inputs: { values: {}, trees: [] } });
    expect(registry.invalidate('a', { reason: 'snapshot gone', nowMs, detail: 'it was removed' })).toBe(
      'vm/a',
    );
    expect(registry.get('a', { nowMs })).toBeUndefined();
    expect(registry.output('a')).toBeUndefined();
    expect(registry.inputs('a')).toBeUndefined();
    expect(registry.totals()).toEqual({ entries: 0, bytes: 0, pinnedByChildren: 0 });
    expect(registry.history('a')).toEqual({ reason: 'snapshot gone', atMs: nowMs, detail: 'it was removed' });
    for (const table of ['cache_usage', 'cache_outputs', 'cache_inputs']) {
      expect(fixture.database.prepare(`SELECT * FROM ${table}`).all()).toEqual([]);
    }
  });

  test('leaves a newer snapshot than the one that is meant', () => {
    put('a', { snapshot: 'vm/new' });
    expect(registry.invalidate('a', { reason: 'removed', nowMs, snapshot: 'vm/old' })).toBeUndefined();
    expect(keys()).toEqual(['a']);
    expect(registry.invalidate('a', { reason: 'removed', nowMs, snapshot: 'vm/new' })).toBe('vm/new');
  });

  test('of what is not there does nothing', () => {
    expect(registry.invalidate('a', { reason: 'removed', nowMs })).toBeUndefined();
    expect(registry.history('a')).toBeUndefined();
  });

  test('of a child lets its parent go', () => {
    put('base');
    put('step', { parent: 'vm/base' });
    registry.invalidate('step', { reason: 'removed', nowMs });
    expect(registry.totals().pinnedByChildren).toBe(0);
    expect(registry.evict({ nowMs: nowMs + 1, unusedForMs: 1 })).toHaveLength(1);
  });
});

test('a put that fails halfway changes nothing', () => {
  put('a');
  put('b', { parent: 'vm/a' });
  put('c', { inputs: { values: {}, trees: [] } });
  registry = fixture.reopen({ maxEntries: 1 });
  registry.recordFailure('d', { nowMs, detail: 'exit code 1' });
  const dump = () =>
    fixture.database
      .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'cache_%'")
      .all()
      .map(({ name }) => fixture.database.prepare(`SELECT * FROM ${name}`).all());
  const before = dump();
  const asked: string[] = [];
  fixture.pinned.has = (snapshot) => {
    asked.push(snapshot);
    if (snapshot === 'vm/c') throw new Error('no answer');
    return false;
  };
  expect(() => put('d')).toThrow('no answer');
  expect(asked).toEqual(['vm/b', 'vm/a', 'vm/c']);
  expect(dump()).toEqual(before);
});

describe('input that is refused', () => {
  const refused = (field: string) => expect.objectContaining({ code: 'InvalidInput', details: { field } });

  test.for([
    ['', 'nothing'],
    ['x'.repeat(1025), 'too long'],
    ['a\0b', 'a NUL'],
    ['a\nb', 'a line feed'],
    ['a\u0085b', 'a C1 control character'],
    ['a\ud800b', 'half a character'],
  ] as const)('the key %j: %s', ([key]) => {
    expect(() => put(key, { snapshot: 'vm/s' })).toThrowError(refused('key'));
    expect(() => registry.get(key, { nowMs })).toThrowError(refused('key'));
    expect(() => registry.peek(key)).toThrowError(refused('key'));
    expect(() => registry.invalidate(key, { nowMs, reason: 'removed' })).toThrowError(refused('key'));
    expect(() => registry.recordFailure(key, { nowMs, detail: '' })).toThrowError(refused('key'));
  });

  test.for(['x'.repeat(1024), 'ключ – 鍵 🔑', "'; DROP TABLE cache_entries; --"])('not the key %j', (key) => {
    put(key, { snapshot: 'vm/s' });
    expect(registry.get(key, { nowMs })?.entry.key).toBe(key);
  });

  test.for([
    ['maxEntries', [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]],
    ['maxBytes', [-1, 1.5, Number.NaN]],
    ['reservedBytes', [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]],
  ] as const)('limits: %s', ([field, values]) => {
    for (const value of values) {
      const limits = { ...registry.limits, [field]: value };
      const opening = () => new Registry(fixture.database, { limits, isPinned: () => false });
      expect(opening).toThrowError(refused(field));
    }
  });

  test('a size that is none, and a snapshot that is its own parent', () => {
    for (const sizeBytes of [-1, Number.NaN, 0.5])
      expect(() => put('a', { sizeBytes })).toThrowError(refused('sizeBytes'));
    expect(() => put('a', { parent: 'vm/a' })).toThrowError(refused('parent'));
    expect(registry.totals().entries).toBe(0);
  });
});
