import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { entryOf, RegistryFixture } from '../../../test/executor/registry-fixture.ts';
import type { InjectedTree, StoredInputs } from '../keys/inputs.ts';
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
