import { existsSync, linkSync, mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { GarbageOptions, GarbageReport, Keepsake, Keepsakes } from '../../src/vm/index.ts';
import { addImage, openElsewhere, openOrigin, sha256Of } from './portable-fixture.ts';
import type { RuntimeFixture } from './runtime-fixture.ts';

const day = 86_400_000;

/** Caches as a backend keeps them: files in `templates/`, by name. */
class TestKeepsakes implements Keepsakes {
  readonly #dir: string;
  readonly all: Keepsake[] = [];

  constructor(dir: string) {
    this.#dir = dir;
  }

  add(name: string, kind: Keepsake['kind'], lastUsedMs: number, neededBy?: string): void {
    const path = join(this.#dir, name);
    writeFileSync(path, Buffer.alloc(40_000, 1));
    this.all.push({ name, kind, of: `${name} of a test`, paths: [path], lastUsedMs, neededBy });
  }

  async list(): Promise<Keepsake[]> {
    return this.all.filter(({ paths }) => existsSync(paths[0] ?? ''));
  }

  async remove(name: string): Promise<boolean> {
    const keepsake = this.all.find((one) => one.name === name);
    if (!keepsake || keepsake.neededBy !== undefined) return false;
    rmSync(keepsake.paths[0] ?? '');
    return true;
  }
}

interface Littered extends RuntimeFixture {
  keepsakes: TestKeepsakes;
}

/** A state directory that has one of everything that is garbage, beside a VM and snapshots that are not. */
async function littered(options: Parameters<typeof openOrigin>[0] = {}): Promise<Littered> {
  const fixture = await openOrigin({ retentionMs: 60_000, ...options });
  const { runtime, root, clock, database, realKernels } = fixture;
  const old = clock.now() - 8 * day;

  await runtime.restore('vm/s1', { id: 'gone' });
  await runtime.snapshot('vm', { id: 'of-a-fork' });
  await runtime.snapshot('vm', { id: 'damaged' });
  const uidOf = (id: string) =>
    String(database.prepare('SELECT uid FROM snapshots WHERE id = ?').get(id)?.uid);
  await runtime.destroy('gone');
  await clock.advance(60_000);
  // As an engine leaves them that dies between the last use of a fork's snapshot and its removal.
  database.prepare("UPDATE snapshots SET lifetime = 'ephemeral' WHERE id = 'of-a-fork'").run();
  rmSync(join(root, 'snapshots', uidOf('damaged'), 'disk.json'));
  database.prepare("UPDATE snapshots SET lifetime = 'lost' WHERE id = 'damaged'").run();

  for (const place of ['vms/stray', 'snapshots/stray']) {
    mkdirSync(join(root, place));
    writeFileSync(join(root, place, 'file'), Buffer.alloc(10_000, 1));
  }
  await addImage(fixture, sha256Of('an image that nobody uses'), Buffer.from('hsqs of nobody'));
  for (const kind of ['kernel', 'initramfs'] as const) {
    const staged = join(root, 'tmp', kind);
    writeFileSync(staged, `${kind} of nobody`);
    const path = await realKernels.adopt(kind, sha256Of(`${kind} of nobody`), staged);
    utimesSync(path, old / 1000, old / 1000);
  }
  writeFileSync(join(root, 'tmp', 'stale'), 'half');
  utimesSync(join(root, 'tmp', 'stale'), old / 1000, old / 1000);

  const keepsakes = new TestKeepsakes(join(root, 'templates'));
  keepsakes.add('unused', 'template', old);
  keepsakes.add('recent', 'memory-image', clock.now() - day);
  keepsakes.add('needed', 'template', old, 'the next start');
  Object.assign(fixture.backend, { keepsakes });
  return Object.assign(fixture, { keepsakes });
}

/** What is garbage in it, in the order in which it goes. */
const garbage = [
  ['snapshot', 'vm/damaged', 'its files are damaged: disk.json'],
  ['snapshot', 'vm/of-a-fork', 'what was made from it is gone'],
  ['vm directory', 'stray', 'no record knows it'],
  ['snapshot directory', 'stray', 'no record knows it'],
  ['vm record', 'gone', 'it was destroyed 1 minute ago'],
  ['template', 'unused', 'nothing needs it, and it was last used 8 days ago: unused of a test'],
  ['kernel', sha256Of('kernel of nobody'), 'no VM and no snapshot boots it, and it was last used 8 days ago'],
  [
    'initramfs',
    sha256Of('initramfs of nobody'),
    'no VM and no snapshot boots it, and it was last used 8 days ago',
  ],
  ['half-made file', 'stale', 'nobody has written it for 8 days'],
];

const summary = ({ removed }: GarbageReport) => removed.map(({ kind, name, why }) => [kind, name, why]);

async function expectUsable({ runtime }: RuntimeFixture): Promise<void> {
  expect((await runtime.snapshots.list()).map(({ ref }) => ref)).toEqual(['vm/s1', 'vm/s2']);
  for (const id of ['s1', 's2'] as const) {
    await runtime.snapshots.verify(`vm/${id}`);
    const copy = await runtime.restore(`vm/${id}`);
    await runtime.start(copy.id);
    expect((await runtime.exec(copy.id, { command: 'cat /root/note' })).stdout).toBe(id);
    await runtime.destroy(copy.id);
  }
}

/** Names of all files, but for those of the database. */
const filesOf = ({ root }: RuntimeFixture) =>
  readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => !name.startsWith('alcove.db'))
    .sort();

describe('garbage', () => {
  test('is what nothing refers to; a dry run says so and changes nothing', async () => {
    await using fixture = await littered();
    const { runtime, database } = fixture;
    const before = filesOf(fixture);
    const report = await runtime.collectGarbage({ dryRun: true });
    expect(summary(report)).toEqual(garbage);
    expect(report.kept).toEqual([]);
    expect(filesOf(fixture)).toEqual(before);
    expect(database.prepare("SELECT count(*) AS n FROM vms WHERE status = 'destroyed'").get()).toEqual({
      n: 1,
    });
    expect(await runtime.collectGarbage({ dryRun: true })).toEqual(report);
    const bytes = new Map(report.removed.map(({ name, bytes }) => [name, bytes]));
    expect(bytes.get('unused')).toBe(40_960);
    expect(report.freedBytes).toBe(report.removed.reduce((sum, item) => sum + item.bytes, 0));
  });

  test('goes, exactly as the dry run said, and nothing else', async () => {
    await using fixture = await littered();
    const { runtime } = fixture;
    const said = await runtime.collectGarbage({ dryRun: true });
    expect(await runtime.collectGarbage()).toEqual(said);
    expect(await runtime.collectGarbage()).toEqual({ removed: [], kept: [], freedBytes: 0 });
    await expectUsable(fixture);
    expect(fixture.warnings).toEqual([]);
    expect((await fixture.reopen()).mended).toEqual([]);
    expect(await fixture.runtime.collectGarbage()).toEqual({ removed: [], kept: [], freedBytes: 0 });
  });

  test.each<[string, GarbageOptions, [string, string][]]>([
    ['images when asked to', { images: 'remove' }, [['image', sha256Of('an image that nobody uses')]]],
    ['what was used lately when asked to', { unusedForMs: 0 }, [['memory-image', 'recent']]],
  ])('takes along %s', async (_, options, more) => {
    await using fixture = await littered();
    const { removed } = await fixture.runtime.collectGarbage(options);
    const extra = removed.filter(
      ({ kind, name }) => !garbage.some((known) => known[0] === kind && known[1] === name),
    );
    expect(extra.map(({ kind, name }) => [kind, name])).toEqual(more);
    await expectUsable(fixture);
  });

  test('leaves what has been used within the time that is given', async () => {
    await using fixture = await littered();
    const { removed } = await fixture.runtime.collectGarbage({ unusedForMs: 9 * day });
    expect(removed.map(({ kind }) => kind)).not.toContain('template');
    expect(removed.map(({ kind }) => kind)).not.toContain('kernel');
    expect(fixture.keepsakes.all.filter(({ paths }) => existsSync(paths[0] ?? ''))).toHaveLength(3);
  });

  test('is what it is only without those that go with it: an image that only garbage refers to', async () => {
    await using fixture = await openOrigin({ retentionMs: 60_000 });
    const { runtime, database } = fixture;
    await runtime.destroy('vm');
    database.prepare("UPDATE snapshots SET lifetime = 'ephemeral'").run();
    await fixture.clock.advance(60_000);
    const said = await runtime.collectGarbage({ dryRun: true, images: 'remove' });
    expect(said.removed.map(({ kind, name }) => [kind, name])).toEqual([
      ['snapshot', 'vm/s2'],
      ['snapshot', 'vm/s1'],
      ['vm record', 'vm'],
      ['image', sha256Of('what the image is called')],
    ]);
    expect(await runtime.collectGarbage({ images: 'remove' })).toEqual(said);
  });

  test('goes in the order of descent: what builds on another first', async () => {
    await using fixture = await openOrigin({ backendOptions: { incremental: 'yes' } });
    const { runtime, database } = fixture;
    database.prepare("UPDATE snapshots SET lifetime = 'ephemeral' WHERE id = 's1'").run();
    expect((await runtime.collectGarbage()).removed, 's2 needs it').toEqual([]);
    database.prepare("UPDATE snapshots SET lifetime = 'ephemeral'").run();
    const { removed } = await runtime.collectGarbage();
    expect(removed.map(({ name }) => name)).toEqual(['vm/s2', 'vm/s1']);
  });

  test('is not a damaged snapshot whose files are back', async () => {
    await using fixture = await openOrigin();
    fixture.database.prepare("UPDATE snapshots SET lifetime = 'lost' WHERE id = 's1'").run();
    expect((await fixture.runtime.collectGarbage()).removed).toEqual([]);
    expect((await fixture.reopen()).mended).toEqual([
      'snapshot vm/s1: is listed again, because its files are back',
    ]);
    await expectUsable(fixture);
  });

  test('counts what several of it share once, and what something else uses not at all', async () => {
    await using fixture = await openElsewhere();
    const { runtime, root } = fixture;
    for (const name of ['a', 'b']) mkdirSync(join(root, 'vms', name));
    const first = join(root, 'vms', 'a', 'layer');
    writeFileSync(first, Buffer.alloc(40_960, 1));
    linkSync(first, join(root, 'vms', 'b', 'layer'));
    const shared = await runtime.collectGarbage({ dryRun: true });
    expect(shared).toMatchObject({ removed: [{ bytes: 0 }, { bytes: 0 }], freedBytes: 40_960 });
    linkSync(first, join(root, 'images', 'elsewhere'));
    expect(await runtime.collectGarbage()).toMatchObject({
      removed: [{ bytes: 0 }, { bytes: 0 }],
      freedBytes: 0,
    });
  });
});

describe('what is in use is no garbage', () => {
  test('a snapshot that is being restored or exported', async () => {
    await using fixture = await openOrigin();
    const { runtime, database, backend } = fixture;
    database.prepare("UPDATE snapshots SET lifetime = 'ephemeral'").run();
    const hung = backend.hang('restore.begin');
    const restoring = runtime.restore('vm/s1', { id: 'copy' });
    await hung.reached;
    const exporting = runtime.snapshots.export('vm/s2')[Symbol.asyncIterator]();
    await exporting.next();
    expect(await runtime.collectGarbage({ unusedForMs: 0 })).toMatchObject({ removed: [], kept: [] });
    await exporting.return?.();
    hung.release();
    await restoring;
    expect((await runtime.collectGarbage()).removed).toMatchObject([{ name: 'vm/s2' }]);
    await runtime.destroy('copy');
    expect(await runtime.snapshots.list()).toEqual([]);
  });

  test('a snapshot and a VM that are being made', async () => {
    await using fixture = await openOrigin();
    const { runtime, backend } = fixture;
    const hangs = [backend.hang('snapshot.middle'), backend.hang('restore.middle')];
    const making = [runtime.snapshot('vm', { id: 'new' }), runtime.restore('vm/s1', { id: 'copy' })];
    await Promise.all(hangs.map(({ reached }) => reached));
    expect(await runtime.collectGarbage({ unusedForMs: 0, images: 'remove' })).toMatchObject({
      removed: [],
      kept: [],
    });
    for (const { release } of hangs) release();
    await Promise.all(making);
    await runtime.start('copy');
    await runtime.snapshots.verify('vm/new');
  });

  test('what becomes needed between the decision and the removal stays, and is told', async () => {
    let fixture: Littered | undefined;
    fixture = await littered({
      failpoint: async (name) => {
        if (name !== 'gc.planned' || !fixture) return;
        const given = (name: string) => join(fixture?.root ?? '', 'given', name);
        const files = { kernel: given('vmlinuz'), initramfs: given('initramfs') };
        await fixture.runtime.create({ image: sha256Of('an image that nobody uses'), ...files });
        await fixture.runtime.restore('vm/of-a-fork', { id: 'late' });
        for (const keepsake of fixture.keepsakes.all) keepsake.neededBy = 'a start';
      },
    });
    await using _open = fixture;
    const { removed, kept } = await fixture.runtime.collectGarbage({ images: 'remove' });
    expect(kept.map(({ kind, name, because }) => [kind, name, because])).toEqual([
      ['snapshot', 'vm/of-a-fork', 'VM late needs it'],
      ['template', 'unused', 'it is in use by now'],
      ['image', sha256Of('an image that nobody uses'), 'it is in use by now'],
    ]);
    expect(removed.map(({ name }) => name)).toContain('vm/damaged');
    await fixture.runtime.start('late');
  });

  test('something that cannot be removed is told, and keeps nothing else from going', async () => {
    await using fixture = await littered();
    fixture.backend.fail('reap.begin', new Error('it resists'));
    const { kept, removed } = await fixture.runtime.collectGarbage();
    expect(kept).toMatchObject([{ name: 'stray', because: 'it could not be removed: it resists' }]);
    expect(removed).toHaveLength(garbage.length - 1);
    expect((await fixture.runtime.collectGarbage()).removed).toMatchObject([
      { kind: 'vm directory', name: 'stray' },
    ]);
  });
});

test('a collection that is cancelled has removed what went before', async () => {
  await using fixture = await littered();
  const abort = new AbortController();
  const collecting = fixture.runtime.collectGarbage({
    signal: abort.signal,
    onProgress: (step) => step.startsWith('removing vm directory') && abort.abort(),
  });
  await expect(collecting).rejects.toMatchObject({ code: 'Cancelled' });
  const rest = await fixture.runtime.collectGarbage();
  expect(summary(rest)).toEqual(garbage.slice(3));
  await expectUsable(fixture);
});

describe.each([
  'gc.removing',
  'gc.removed',
  'remove-snapshot.journalled',
  'remove-snapshot.removed',
] as const)('an engine that dies at %s', (step) => {
  const times = step.startsWith('gc') ? garbage.length : 2;
  test.each(Array.from({ length: times }, (_, time) => time))(
    'time %i loses nothing that is needed, and the next one finishes',
    async (time) => {
      let passed = 0;
      const reached = Promise.withResolvers<void>();
      await using fixture = await littered({
        failpoint: (name) => {
          if (name !== step || passed++ < time) return undefined;
          reached.resolve();
          return new Promise(() => undefined);
        },
      });
      void fixture.runtime.collectGarbage().catch(() => undefined);
      await reached.promise;
      passed = Number.NEGATIVE_INFINITY;
      await fixture.crash();
      Object.assign(fixture.backend, { keepsakes: fixture.keepsakes });
      await expectUsable(fixture);
      await fixture.runtime.collectGarbage();
      expect(await fixture.runtime.collectGarbage()).toEqual({ removed: [], kept: [], freedBytes: 0 });
      expect(readdirSync(join(fixture.root, 'vms'))).toEqual(['vm']);
      expect(readdirSync(join(fixture.root, 'snapshots'))).toHaveLength(2);
      expect(readdirSync(join(fixture.root, 'templates')).sort()).toEqual(['needed', 'recent']);
      expect(fixture.database.prepare('SELECT * FROM vm_journal').all()).toEqual([]);
      await expectUsable(fixture);
      expect((await fixture.reopen()).mended).toEqual([]);
    },
  );
});
