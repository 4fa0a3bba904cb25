import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openFixture, type RuntimeFixture } from './runtime-fixture.ts';

/** A VM with snapshots `s1` and `s2`, of which `s2` builds on `s1`. */
async function withChain(): Promise<RuntimeFixture> {
  const fixture = await openFixture({ backendOptions: { incremental: 'yes' } });
  const { runtime } = fixture;
  await runtime.create({ id: 'vm', image: 'builtin' });
  for (const id of ['s1', 's2']) await runtime.snapshot('vm', { id });
  return fixture;
}

function fileOf({ root, database }: RuntimeFixture, id: string): string {
  const row = database.prepare('SELECT uid FROM snapshots WHERE id = ?').get(id);
  return join(root, 'snapshots', String(row?.uid), 'disk.json');
}

function flipBit(path: string): void {
  const bytes = readFileSync(path);
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}

/** Lets files look as if they had been written long ago, as most were. */
function age(...paths: string[]): void {
  for (const path of paths) utimesSync(path, 1_000_000, 1_000_000);
}

const damages: readonly [name: string, damage: (path: string) => void, says: string][] = [
  ['with a bit flipped', flipBit, 'disk.json does not have the digest'],
  ['cut short', (path) => truncateSync(path, 10), 'disk.json has 10 bytes instead of'],
  ['with more at its end', (path) => appendFileSync(path, ' '), 'disk.json has '],
  ['that is gone', (path) => rmSync(path), 'disk.json is gone'],
  [
    'that a link stands for',
    (path) => {
      renameSync(path, `${path}.real`);
      symlinkSync(`${path}.real`, path);
    },
    'disk.json is no file',
  ],
];

describe.each(damages)('a file %s', (_, damage, says) => {
  test.each([
    ['the snapshot itself', 's2', 'snapshot vm/s2 is damaged: '],
    ['an ancestor it builds on', 's1', 'snapshot vm/s1 is damaged: '],
  ])('of %s: the restore is refused, and the file named', async (__, id, of) => {
    await using fixture = await withChain();
    const { runtime, backend, root } = fixture;
    const path = fileOf(fixture, id);
    damage(path);
    const refused = {
      code: 'SnapshotCorrupt',
      message: expect.stringContaining(of + says),
      details: { ref: `vm/${id}`, file: 'disk.json', path },
    };
    await expect(runtime.restore('vm/s2', { id: 'copy' })).rejects.toMatchObject(refused);
    await expect(runtime.snapshots.verify('vm/s2')).rejects.toMatchObject(refused);
    expect(backend.log.map(({ call }) => call)).not.toContain('restore');
    expect(await runtime.get('copy')).toBeUndefined();
    expect(readdirSync(join(root, 'vms'))).toEqual(['vm']);
  });
});

/** What a restore says it reads. */
async function readBy({ runtime }: RuntimeFixture, ref: 'vm/s1' | 'vm/s2'): Promise<string[]> {
  const steps: string[] = [];
  const copy = await runtime.restore(ref, {}, { onProgress: (step) => void steps.push(step) });
  await runtime.destroy(copy.id);
  return steps.filter((step) => step.startsWith('checking'));
}

describe('what is known to be right is not read again', () => {
  test('once a verification, or a restore, has read it; over restarts', async () => {
    await using fixture = await withChain();
    age(fileOf(fixture, 's1'), fileOf(fixture, 's2'));
    const both = ['checking vm/s2: disk.json', 'checking vm/s1: disk.json'];
    expect(await readBy(fixture, 'vm/s2')).toEqual(both);
    expect(await readBy(fixture, 'vm/s2')).toEqual([]);
    await fixture.reopen();
    expect(await readBy(fixture, 'vm/s2')).toEqual([]);
    age(fileOf(fixture, 's1'));
    utimesSync(fileOf(fixture, 's2'), 2_000_000, 2_000_000);
    expect(await readBy(fixture, 'vm/s2')).toEqual(['checking vm/s2: disk.json']);
    const steps: string[] = [];
    await fixture.runtime.snapshots.verify('vm/s2', { onProgress: (step) => void steps.push(step) });
    expect(steps, 'a verification reads all').toEqual(both);
    expect(await readBy(fixture, 'vm/s2')).toEqual([]);
  });

  test('snapshots of an older Alcove are read at their first use', async () => {
    await using fixture = await withChain();
    age(fileOf(fixture, 's1'));
    await fixture.runtime.snapshots.verify('vm/s1');
    expect(await readBy(fixture, 'vm/s1')).toEqual([]);
    fixture.database.prepare('UPDATE snapshots SET seals = NULL').run();
    await fixture.reopen();
    expect(await readBy(fixture, 'vm/s1')).toEqual(['checking vm/s1: disk.json']);
    expect(await readBy(fixture, 'vm/s1')).toEqual([]);
  });

  test('another link to a file leaves its seal whole', async () => {
    await using fixture = await withChain();
    const path = fileOf(fixture, 's1');
    age(path);
    await fixture.runtime.snapshots.verify('vm/s1');
    const before = statSync(path, { bigint: true });
    execFileSync('ln', [path, `${path}.link`]);
    expect(statSync(path, { bigint: true }).nlink).not.toBe(before.nlink);
    expect(await readBy(fixture, 'vm/s1')).toEqual([]);
  });

  test('a verification finds what a seal cannot know: bytes that changed by themselves', async () => {
    await using fixture = await withChain();
    const path = fileOf(fixture, 's1');
    age(path);
    await fixture.runtime.snapshots.verify('vm/s1');
    flipBit(path);
    age(path);
    await expect(fixture.runtime.snapshots.verify('vm/s1')).rejects.toMatchObject({
      code: 'SnapshotCorrupt',
    });
  });
});

test('a verification that is cancelled ends, and says so', async () => {
  await using fixture = await withChain();
  const abort = new AbortController();
  const verifying = fixture.runtime.snapshots.verify('vm/s2', {
    signal: abort.signal,
    onProgress: () => abort.abort(new Error('enough')),
  });
  await expect(verifying).rejects.toMatchObject({ code: 'Cancelled', cause: { message: 'enough' } });
});

describe('a snapshot whose files are lost', () => {
  test('is listed no more by the next engine, and named with the file by who asks for it', async () => {
    await using fixture = await withChain();
    truncateSync(fileOf(fixture, 's1'), 10);
    const runtime = await fixture.reopen();
    expect(runtime.mended).toEqual([
      expect.stringMatching(
        /^snapshot vm\/s1 is damaged: disk.json has 10 bytes instead of \d+. It is listed no more; snapshot vm\/s2 cannot do without it$/,
      ),
    ]);
    expect((await runtime.snapshots.list()).map(({ ref }) => ref)).toEqual(['vm/s2']);
    expect(await runtime.snapshots.get('vm/s1')).toBeUndefined();
    await expect(runtime.restore('vm/s1')).rejects.toMatchObject({
      code: 'SnapshotCorrupt',
      message: expect.stringContaining('disk.json has 10 bytes'),
    });
    await expect(runtime.snapshot('vm', { id: 's1' })).rejects.toMatchObject({
      code: 'SnapshotAlreadyExists',
      remedy: expect.stringContaining('alcove snapshot rm vm/s1'),
    });
    expect((await fixture.reopen()).mended).toEqual([]);
  });

  test('is back when its files are', async () => {
    await using fixture = await withChain();
    const dir = join(fileOf(fixture, 's2'), '..');
    renameSync(dir, `${fixture.root}/elsewhere`);
    expect((await fixture.reopen()).mended).toHaveLength(1);
    renameSync(`${fixture.root}/elsewhere`, dir);
    const runtime = await fixture.reopen();
    expect(runtime.mended).toEqual(['snapshot vm/s2: is listed again, because its files are back']);
    await runtime.restore('vm/s2');
  });

  test('can be removed', async () => {
    await using fixture = await withChain();
    rmSync(fileOf(fixture, 's2'));
    const runtime = await fixture.reopen();
    await runtime.snapshots.remove('vm/s2');
    expect(readdirSync(join(fixture.root, 'snapshots'))).toHaveLength(1);
  });
});
