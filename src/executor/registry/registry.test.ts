import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { entryOf, RegistryFixture } from '../../../test/executor/registry-fixture.ts';
import type { InjectedTree, StoredInputs } from '../keys/inputs.ts';
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

describe('history', () => {
  test('tells of a run that failed, with and without an older result', () => {
    put('a');
    registry.recordFailure('a', { nowMs, detail: 'exit code 2' });
    registry.recordFailure('b', { nowMs, detail: 'exit code 3' });
    registry = fixture.reopen();
    expect(registry.history('a')).toEqual({ reason: 'failed', atMs: nowMs, detail: 'exit code 2' });
    expect(registry.history('b')).toEqual({ reason: 'failed', atMs: nowMs, detail: 'exit code 3' });
    expect(registry.peek('a')).toBeDefined();
  });

  test('ends when the key is put', () => {
    registry.recordFailure('a', { nowMs, detail: 'exit code 2' });
    put('a');
    expect(registry.history('a')).toBeUndefined();
  });

  test('is kept of the latest keys only', () => {
    open({ maxHistory: 3 });
    for (const key of ['a', 'b', 'c', 'a', 'a', 'd']) registry.recordFailure(key, { nowMs, detail: 'x' });
    const known = ['a', 'b', 'c', 'd'].filter((key) => registry.history(key));
    expect(known).toEqual(['a', 'c', 'd']);
  });
});

describe('a list', () => {
  beforeEach(() => {
    put('x/1');
    put('x/2', { parent: 'vm/x/1' });
    put('y/1');
    put('x/3', { parent: 'vm/x/1' });
    registry.get('x/1', { nowMs });
  });

  test('has the most recently used first, parents or not', () => {
    expect(keys()).toEqual(['x/1', 'x/3', 'y/1', 'x/2']);
  });

  test('comes in pages', () => {
    const pages: string[][] = [];
    for (let after: string | undefined; ; ) {
      const page = registry.list({ limit: 3, ...(after !== undefined && { after }) }).map(({ key }) => key);
      if (page.length === 0) break;
      pages.push(page);
      after = page.at(-1);
    }
    expect(pages).toEqual([['x/1', 'x/3', 'y/1'], ['x/2']]);
  });

  test('can be of keys that begin in one way, in pages, too', () => {
    const list = (options: Parameters<Registry['list']>[0]) => registry.list(options).map(({ key }) => key);
    expect(list({ prefix: 'x' })).toEqual(['x/1', 'x/3', 'x/2']);
    expect(list({ prefix: 'x/', limit: 1, after: 'x/1' })).toEqual(['x/3']);
    expect(list({ prefix: 'z' })).toEqual([]);
    expect(list({ limit: 0 })).toEqual([]);
  });

  test.for([
    ['a', ['a', 'a\u{10ffff}', 'a\u{10ffff}z', 'ab'], ['b', 'A']],
    ['\ud7ff', ['\ud7ff', '\ud7ff1'], ['\ue000']],
    ['\u{10ffff}', ['\u{10ffff}', '\u{10ffff}1'], ['\uffff']],
    ['%_', ['%_a'], ['ab', '%a']],
  ] as const)('takes the prefix %j as it is', ([prefix, those, others]) => {
    open({});
    for (const key of [...those, ...others]) put(key);
    expect(
      registry
        .list({ prefix })
        .map(({ key }) => key)
        .sort(),
    ).toEqual([...those].sort());
  });

  test('does not go on after an entry that is gone', () => {
    registry.invalidate('x/3', { reason: 'removed', nowMs });
    expect(() => registry.list({ after: 'x/3' })).toThrowError(
      expect.objectContaining({ code: 'CacheEntryNotFound' }),
    );
  });
});

test('all snapshots are told, while entries go and come', () => {
  open({ maxEntries: 1000 });
  const all = Array.from({ length: 600 }, (_, index) => `key-${index}`);
  fixture.database.transact(() => {
    for (const key of all) put(key);
  });
  const seen: string[] = [];
  fixture.database.transact(() => {
    for (const { key, snapshot } of registry.snapshots()) {
      seen.push(key);
      expect(snapshot).toBe(`vm/${key}`);
      registry.invalidate(key, { reason: 'removed', nowMs });
    }
  });
  expect(seen.sort()).toEqual(all.sort());
});

describe('inputs', () => {
  const tree: InjectedTree = {
    to: '/src',
    digest: 'sha256:1',
    entries: Array.from({ length: 2000 }, (_, index) => ({
      path: `src/file-${index}.c`,
      kind: 'file',
      mode: 0o644,
      sha256: 'ab'.repeat(32),
      sizeBytes: index,
    })),
  };
  const inputsOf = (command: string, source: Record<string, string>): StoredInputs => ({
    values: Object.fromEntries(
      Object.entries({ command, ...source }).map(([name, text]) => [name, { text }]),
    ),
    trees: [tree],
  });

  test('come back whole, and trees take little room', () => {
    const inputs = inputsOf('make', { image: 'i' });
    put('a', { inputs });
    expect(registry.inputs('a')).toEqual(inputs);
    const size = fixture.database.prepare('SELECT length(trees) AS bytes FROM cache_inputs').get()?.bytes;
    expect(Number(size)).toBeLessThan(JSON.stringify(tree.entries).length / 10);
  });

  test('like others’ are found: of the same name, command and source, and the latest; so many of each', () => {
    put('name-1', { name: 'build', inputs: inputsOf('c1', { image: 'i1' }) });
    put('name-2', { name: 'build', inputs: inputsOf('c2', { image: 'i2' }) });
    put('name-3', { name: 'build', inputs: inputsOf('c3', { image: 'i3' }) });
    put('command', { name: 'other', inputs: inputsOf('make', { image: 'i4' }) });
    put('image', { inputs: inputsOf('c4', { image: 'debian' }) });
    put('parent', { inputs: inputsOf('c4', { parent: 'debian' }) });
    put('without', { name: 'build' });
    put('newer', { name: 'x', inputs: inputsOf('c5', { image: 'i5' }) });
    put('newest', { name: 'x', inputs: inputsOf('c6', { image: 'i6' }) });
    const of = { name: 'build', inputs: inputsOf('make', { image: 'debian' }) };
    registry.get('name-1', { nowMs });
    const found = registry.candidates(of, 2);
    expect(found.map(({ entry }) => entry.key)).toEqual([
      'name-3',
      'name-2',
      'command',
      'image',
      'newest',
      'newer',
    ]);
    expect(found[2]?.inputs).toEqual({
      values: { command: { text: 'make' }, image: { text: 'i4' } },
      trees: [{ to: '/src', digest: 'sha256:1', entries: [] }],
    });
    const child = registry.candidates({ inputs: inputsOf('none', { parent: 'debian' }) }, 1);
    expect(child.map(({ entry }) => entry.key)).toEqual(['parent', 'newest']);
  });

  test('a secret command is told apart by its digest', () => {
    const secret = (digest: string): StoredInputs => ({ values: { command: { digest } }, trees: [] });
    put('a', { inputs: secret('1') });
    put('b', { inputs: secret('2') });
    expect(registry.candidates({ inputs: secret('1') }, 1).map(({ entry }) => entry.key)).toEqual(['a', 'b']);
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
