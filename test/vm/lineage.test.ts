import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openFixture, type RuntimeFixture } from './runtime-fixture.ts';

/** A VM with snapshots `s1` to `s3`, each of which builds on the one before. */
async function withChain(): Promise<RuntimeFixture> {
  const fixture = await openFixture({ backendOptions: { incremental: 'yes' } });
  const { runtime } = fixture;
  await runtime.create({ id: 'vm', image: 'builtin' });
  await runtime.start('vm');
  for (const step of [1, 2, 3]) {
    await runtime.exec('vm', { command: `write /root/${step} ${step}` });
    await runtime.snapshot('vm', { id: `s${step}` });
  }
  return fixture;
}

test('a snapshot that another builds on cannot be removed, and goes when that has gone', async () => {
  await using fixture = await withChain();
  const { snapshots } = fixture.runtime;
  await expect(snapshots.remove('vm/s1')).rejects.toMatchObject({
    code: 'SnapshotInUse',
    details: { ref: 'vm/s1', neededBy: ['snapshot vm/s2'] },
  });
  await snapshots.remove('vm/s3');
  await snapshots.remove('vm/s2');
  await snapshots.remove('vm/s1');
  expect(readdirSync(join(fixture.root, 'snapshots'))).toEqual([]);
});

test('a chain is restored whole, by another engine too', async () => {
  await using fixture = await withChain();
  const runtime = await fixture.reopen();
  await runtime.restore('vm/s2', { id: 'copy' });
  await runtime.start('copy');
  expect((await runtime.exec('copy', { command: 'ls /root' })).stdout).toBe('1\n2\n');
});

test('a snapshot in the middle of a line that nobody builds on leaves its children to its parent', async () => {
  await using fixture = await openFixture();
  const { runtime } = fixture;
  await runtime.create({ id: 'vm', image: 'builtin' });
  for (const id of ['a', 'b', 'c']) await runtime.snapshot('vm', { id });
  await runtime.snapshots.remove('vm/b');
  expect(await runtime.snapshots.get('vm/c')).toMatchObject({ parent: 'vm/a' });
  await runtime.snapshots.remove('vm/c');
  expect(await runtime.snapshot('vm', { id: 'd' })).toMatchObject({ parent: 'vm/a' });
});

test('a snapshot that is being restored cannot be removed', async () => {
  await using fixture = await withChain();
  const { runtime, backend } = fixture;
  const hung = backend.hang('restore.begin');
  const restoring = runtime.restore('vm/s3', { id: 'copy' });
  await hung.reached;
  await expect(runtime.snapshots.remove('vm/s3')).rejects.toMatchObject({
    code: 'SnapshotInUse',
    details: { neededBy: ['a call that is under way'] },
  });
  hung.release();
  await restoring;
  await expect(runtime.snapshots.remove('vm/s3')).rejects.toMatchObject({
    details: { neededBy: ['VM copy'] },
  });
  await runtime.destroy('copy');
  await runtime.snapshots.remove('vm/s3');
});

test('a snapshot whose bytes changed is not restored', async () => {
  await using fixture = await openFixture();
  const { runtime, root } = fixture;
  await runtime.create({ id: 'vm', image: 'builtin' });
  await runtime.snapshot('vm', { id: 's' });
  const [uid = ''] = readdirSync(join(root, 'snapshots'));
  const path = join(root, 'snapshots', uid, 'disk.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace('/tmp', '/tmq')); // Of the same size.
  await expect(runtime.restore('vm/s', { id: 'copy' })).rejects.toMatchObject({ code: 'SnapshotCorrupt' });
  expect(await runtime.get('copy')).toBeUndefined();
  expect(readdirSync(join(root, 'vms'))).toEqual(['vm']);
});

test('a snapshot that was cut short is refused before the backend is asked, and listed no more by the next engine', async () => {
  await using fixture = await openFixture();
  const { runtime, root, backend } = fixture;
  await runtime.create({ id: 'vm', image: 'builtin' });
  await runtime.snapshot('vm', { id: 's' });
  const [uid = ''] = readdirSync(join(root, 'snapshots'));
  truncateSync(join(root, 'snapshots', uid, 'disk.json'), 10);
  await expect(runtime.restore('vm/s', { id: 'copy' })).rejects.toMatchObject({ code: 'SnapshotCorrupt' });
  expect(backend.log.map(({ call }) => call)).not.toContain('restore');
  const next = await fixture.reopen();
  expect(next.mended).toEqual([
    expect.stringMatching(/^snapshot vm\/s: is gone, .* has 10 bytes instead of/),
  ]);
  expect(await next.snapshots.list()).toEqual([]);
  expect(readdirSync(join(root, 'snapshots'))).toEqual([]);
});

test('a snapshot whose files are gone is listed no more, and the engine says so once', async () => {
  await using fixture = await withChain();
  const [uid = ''] = readdirSync(join(fixture.root, 'snapshots'));
  const lost = fixture.database.prepare('SELECT id FROM snapshots WHERE uid = ?').get(uid);
  rmSync(join(fixture.root, 'snapshots', uid), { recursive: true });
  const runtime = await fixture.reopen();
  expect(runtime.mended).toEqual([expect.stringContaining(`snapshot vm/${lost?.id}: is gone`)]);
  expect((await runtime.snapshots.list()).map(({ id }) => id)).not.toContain(lost?.id);
  expect((await fixture.reopen()).mended).toEqual([]);
});

test('a snapshot of another world is refused with the fact that differs', async () => {
  await using fixture = await openFixture({ backendOptions: { facts: { cpu: 'old' } } });
  await fixture.runtime.create({ id: 'vm', image: 'builtin' });
  await fixture.runtime.snapshot('vm', { id: 's' });
  const { MemoryBackend } = await import('../../src/backends/memory/index.ts');
  const other = new MemoryBackend({ clock: fixture.clock, facts: { cpu: 'new' } });
  const runtime = await fixture.reopen({ backends: [other] });
  await expect(runtime.restore('vm/s')).rejects.toMatchObject({
    code: 'SnapshotIncompatible',
    details: { fact: 'cpu', expected: 'old', found: 'new' },
  });
});

test('a copy has its own labels, and its environment over that of its origin', async () => {
  await using fixture = await openFixture();
  const { runtime } = fixture;
  await runtime.create({ id: 'vm', image: 'builtin', env: { A: '1', B: '1' }, labels: { of: 'vm' } });
  await runtime.snapshot('vm', { id: 's' });
  expect(await runtime.restore('vm/s', { env: { B: '2' }, labels: { of: 'copy' } })).toMatchObject({
    id: expect.stringMatching(/^vm-[0-9a-f]{15}$/),
    env: { A: '1', B: '2' },
    labels: { of: 'copy' },
  });
});

test('images stay in use as long as a VM or a snapshot needs them', async () => {
  await using fixture = await openFixture();
  const { runtime } = fixture;
  const { image } = await runtime.create({ id: 'vm', image: 'other' });
  expect(runtime.imageDigestsInUse()).toEqual(new Set([image.digest]));
  await runtime.snapshot('vm', { id: 's' });
  await runtime.destroy('vm');
  expect(runtime.imageDigestsInUse()).toEqual(new Set([image.digest]));
  await runtime.snapshots.remove('vm/s');
  expect(runtime.imageDigestsInUse()).toEqual(new Set());
});
