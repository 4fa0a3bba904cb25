import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { everythingOf } from '../vm/portable-fixture.ts';
import {
  entriesOf,
  exportAll,
  importAll,
  noteOf,
  openEmptyCache,
  openFullCache,
  runStep,
} from './portable-cache-fixture.ts';

describe('a cache that is exported', () => {
  test('is a hit elsewhere, where neither image nor kernel is, with its output', async () => {
    await using origin = await openFullCache();
    await using elsewhere = await openEmptyCache();
    const report = await importAll(elsewhere, await exportAll(origin));
    expect(report).toMatchObject({ kept: [], skipped: [] });
    expect(report.added.map(({ key }) => key)).toEqual(['base', 'build', 'test']);
    const [test_, build, base] = await elsewhere.executor.cache.list();
    const [original] = await origin.executor.cache.list();
    expect(test_).toMatchObject({
      key: 'test',
      name: 'the test',
      parent: build?.snapshot,
      createdAtMs: Math.min(original?.createdAtMs ?? 0, elsewhere.vm.clock.now()),
      lastUsedAtMs: elsewhere.vm.clock.now(),
      hits: 0,
      durationMs: original?.durationMs,
    });
    expect(build?.parent).toBe(base?.snapshot);
    expect(base, 'what it was made from is not cached').not.toHaveProperty('parent');
    for (const entry of [base, build, test_])
      expect(entry?.snapshot, 'named here').toMatch(/^cache-[0-9a-f]{15}\/result$/);
    expect(elsewhere.vm.runtime.snapshots.labelled('alcove.cache')).toEqual(
      [base, build, test_].map((entry) => ({ ref: entry?.snapshot, value: entry?.key })),
    );
    const lines: string[] = [];
    const hit = await elsewhere.executor.execute(
      { source: { snapshot: build?.snapshot ?? 'none/none' }, command: 'test it' },
      { cache: 'test' },
      { onStdout: (line) => void lines.push(line) },
    );
    expect(hit).toMatchObject({ cached: true, snapshot: test_?.snapshot, stdout: 'test is done\n' });
    expect(lines).toEqual(['test is done']);
    expect(await noteOf(elsewhere, test_?.snapshot ?? 'none/none')).toBe('s1 base build test');
    expect(await noteOf(elsewhere, base?.snapshot ?? 'none/none')).toBe('s1 base');
    await elsewhere.open();
    expect(elsewhere.mended).toEqual([]);
    expect(elsewhere.warnings).toEqual([]);
  });

  test('goes on elsewhere, and from there', async () => {
    await using origin = await openFullCache();
    await using second = await openEmptyCache();
    await importAll(second, await exportAll(origin));
    const from = (await entriesOf(second))[0]?.[1] ?? 'none/none';
    await runStep(second, 'deploy', from);
    await using third = await openEmptyCache();
    await importAll(third, await exportAll(second));
    expect((await entriesOf(third)).map(([key]) => key)).toEqual(['deploy', 'test', 'build', 'base']);
    expect(await noteOf(third, (await entriesOf(third))[0]?.[1] ?? 'none/none')).toBe(
      's1 base build test deploy',
    );
  });

  test('tells there what its inputs were, and not its secrets', async () => {
    await using origin = await openFullCache();
    const action = {
      source: { snapshot: 'vm/s2' },
      command: 'make it',
      env: { LEVEL: '3' },
      secrets: { TOKEN: 'hunter-2' },
    } as const;
    const { key = '' } = await origin.executor.execute(action, { auto: 'forever' });
    await origin.executor.settled();
    const archive = await exportAll(origin, [key]);
    await using elsewhere = await openEmptyCache();
    await importAll(elsewhere, archive);
    const details = await elsewhere.executor.cache.inspect(key);
    expect(details.inputs).toEqual((await origin.executor.cache.inspect(key)).inputs);
    expect(details.inputs?.values['env.LEVEL']).toEqual({ text: '3' });
    expect(JSON.stringify(details)).not.toContain('hunter-2');
  });

  test('holds of some keys what those were made from, and not what was made from them', async () => {
    await using origin = await openFullCache();
    for (const [keys, expected] of [
      [['build'], ['build', 'base']],
      [['base'], ['base']],
      [['te'], ['test', 'build', 'base']],
      [[], []],
    ] as const) {
      await using elsewhere = await openEmptyCache();
      await importAll(elsewhere, await exportAll(origin, [...keys]));
      expect((await entriesOf(elsewhere)).map(([key]) => key)).toEqual(expected);
    }
    await expect(exportAll(origin, ['nothing'])).rejects.toHaveProperty('code', 'CacheEntryNotFound');
  });

  test('lacks what it was made from when that is not cached any more', async () => {
    await using origin = await openFullCache();
    await origin.executor.cache.remove(['build']);
    await using elsewhere = await openEmptyCache();
    await importAll(elsewhere, await exportAll(origin));
    const [newest, ...others] = await elsewhere.executor.cache.list();
    expect(newest).toMatchObject({ key: 'test' });
    expect(newest).not.toHaveProperty('parent');
    expect(others.map(({ key }) => key)).toEqual(['base']);
    expect(await noteOf(elsewhere, newest?.snapshot ?? 'none/none')).toBe('s1 base build test');
  });

  test('leaves out entries whose snapshot is gone, unless they are asked for', async () => {
    await using origin = await openFullCache();
    const uid = origin.vm.database
      .prepare("SELECT uid FROM snapshots WHERE json_extract(labels, '$.\"alcove.cache\"') = 'test'")
      .get()?.uid;
    rmSync(join(origin.vm.root, 'snapshots', String(uid)), { recursive: true });
    await expect(exportAll(origin, ['test'])).rejects.toHaveProperty('code', 'CacheEntryNotFound');
    await using elsewhere = await openEmptyCache();
    await importAll(elsewhere, await exportAll(origin));
    expect((await entriesOf(elsewhere)).map(([key]) => key)).toEqual(['build', 'base']);
  });

  test('is not mixed with what replaces an entry while it is read', async () => {
    await using origin = await openFullCache();
    const reading = origin.executor.cache.export({
      onProgress: (step) => {
        if (step.includes('exporting')) origin.vm.database.prepare('DELETE FROM cache_entries').run();
      },
    });
    const drain = async () => {
      for await (const _ of reading);
    };
    await expect(drain()).rejects.toMatchObject({ code: 'CacheEntryNotFound', remedy: 'Export again.' });
  });

  test('may be empty', async () => {
    await using origin = await openEmptyCache();
    await using elsewhere = await openEmptyCache();
    expect(await importAll(elsewhere, await exportAll(origin))).toEqual({ added: [], kept: [], skipped: [] });
  });
});

describe('an import', () => {
  test('leaves alone what is here under a key, and is a parent what is here', async () => {
    await using origin = await openFullCache();
    await using elsewhere = await openFullCache();
    await elsewhere.executor.cache.remove(['test', 'build']);
    const [[, own] = []] = await entriesOf(elsewhere);
    const report = await importAll(elsewhere, await exportAll(origin));
    expect(report.kept).toEqual(['base']);
    expect(report.added.map(({ key }) => key)).toEqual(['build', 'test']);
    expect(report.added[0]).toMatchObject({ parent: own });
    expect(new Map(await entriesOf(elsewhere)).get('base')).toBe(own);
    const before = everythingOf(elsewhere.vm);
    const again = await importAll(elsewhere, await exportAll(origin));
    expect(again).toEqual({ added: [], kept: ['base', 'build', 'test'], skipped: [] });
    expect(everythingOf(elsewhere.vm)).toEqual(before);
  });

  test('replaces what is here when its snapshot is gone', async () => {
    await using origin = await openFullCache();
    await using elsewhere = await openEmptyCache();
    const archive = await exportAll(origin);
    await importAll(elsewhere, archive);
    const snapshots = join(elsewhere.vm.root, 'snapshots');
    for (const uid of readdirSync(snapshots)) rmSync(join(snapshots, uid), { recursive: true });
    const { added } = await importAll(elsewhere, archive);
    expect(added).toHaveLength(3);
    expect(readdirSync(snapshots)).toHaveLength(3);
    expect(added[1]?.parent).toBe(added[0]?.snapshot);
    for (const { snapshot } of added) expect(await noteOf(elsewhere, snapshot)).toMatch(/^s1 base/);
  });

  test('leaves alone what comes under a key while it is read', async () => {
    await using origin = await openFullCache();
    await using elsewhere = await openFullCache();
    await elsewhere.executor.cache.remove(['base', 'build', 'test']);
    const archive = await exportAll(origin);
    const report = await elsewhere.executor.cache.import(
      (async function* () {
        yield archive.subarray(0, -10);
        await runStep(elsewhere, 'build', 'vm/s2');
        yield archive.subarray(-10);
      })(),
    );
    expect(report.kept).toEqual(['build']);
    const entries = new Map(await entriesOf(elsewhere));
    expect(await noteOf(elsewhere, entries.get('build') ?? 'none/none')).toBe('s2 build');
    expect(report.added.find(({ key }) => key === 'test')?.parent).toBe(entries.get('build'));
    const labelled = elsewhere.vm.runtime.snapshots.labelled('alcove.cache').map(({ ref }) => ref);
    expect(labelled.sort()).toEqual([...entries.values()].sort());
  });

  test('keeps to the limits, and lets go of what goes for that, the least recently used first', async () => {
    await using origin = await openFullCache({ shape: 'apart', steps: ['a', 'b', 'c'] });
    const limits = { maxEntries: 2, maxBytes: 2 ** 40, reservedBytes: 0 };
    await using elsewhere = await openFullCache({ limits, steps: ['own'] });
    await elsewhere.vm.runtime.restore((await entriesOf(elsewhere))[0]?.[1] ?? 'none/none', { id: 'user' });
    const { added } = await importAll(elsewhere, await exportAll(origin));
    expect(added.map(({ key }) => key)).toEqual(['c']);
    expect((await entriesOf(elsewhere)).map(([key]) => key)).toEqual(['c', 'own']);
    const left = elsewhere.vm.runtime.snapshots.labelled('alcove.cache');
    expect(left.map(({ value }) => value)).toEqual(['own', 'c']);
    await elsewhere.vm.runtime.destroy('user');
    const again = await importAll(elsewhere, await exportAll(origin));
    expect(again.added.map(({ key }) => key)).toEqual(['a', 'b']);
    expect(again.kept, 'c had to go').toEqual([]);
    expect((await entriesOf(elsewhere)).map(([key]) => key)).toEqual(['b', 'a']);
    await elsewhere.open();
    expect(elsewhere.mended).toEqual([]);
  });

  test('cannot claim more room than its files take', async () => {
    await using origin = await openFullCache({ steps: ['large'] });
    origin.vm.database.prepare('UPDATE cache_entries SET size_bytes = 1099511627776').run();
    await using elsewhere = await openFullCache({ steps: ['own'] });
    const { added } = await importAll(elsewhere, await exportAll(origin));
    expect(added[0]?.sizeBytes).toBeLessThan(1 << 20);
  });

  test.each([
    ['backend', { backend: 'other', architecture: 'x86_64' }],
    ['architecture', { backend: 'memory', architecture: 'riscv64' }],
  ])('of another %s is refused, and leaves nothing', async (fact, platform) => {
    await using origin = await openFullCache();
    await using elsewhere = await openEmptyCache({ platform });
    const empty = everythingOf(elsewhere.vm);
    await expect(importAll(elsewhere, await exportAll(origin))).rejects.toMatchObject({
      code: 'SnapshotIncompatible',
      details: { fact },
    });
    expect(everythingOf(elsewhere.vm)).toEqual(empty);
  });

  test('of an archive of one snapshot says how to import that', async () => {
    await using origin = await openFullCache();
    await using elsewhere = await openEmptyCache();
    const importing = elsewhere.executor.cache.import(origin.vm.runtime.snapshots.export('vm/s1'));
    await expect(importing).rejects.toMatchObject({
      code: 'ArchiveInvalid',
      remedy: expect.stringContaining('alcove snapshot import'),
    });
  });
});
