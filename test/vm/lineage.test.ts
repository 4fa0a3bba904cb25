import { linkSync, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { LineageNode } from '../../src/vm/index.ts';
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

describe('a VM whose id another one had before', () => {
  async function reborn(): Promise<RuntimeFixture> {
    const fixture = await openFixture();
    const { runtime, clock } = fixture;
    await runtime.create({ id: 'vm', image: 'builtin' });
    await runtime.snapshot('vm', { id: 'old' });
    await runtime.destroy('vm');
    await clock.advance(3_600_000);
    await runtime.create({ id: 'vm', image: 'builtin' });
    await runtime.snapshot('vm', { id: 'new' });
    return fixture;
  }

  test('does not list the other one’s snapshots, which stay', async () => {
    await using fixture = await reborn();
    const { runtime } = fixture;
    expect((await runtime.get('vm'))?.snapshots).toEqual(['new']);
    expect(await runtime.snapshots.list({ vmId: 'vm' })).toMatchObject([{ ref: 'vm/new', vm: 'here' }]);
    expect(await runtime.snapshots.list()).toMatchObject([
      { ref: 'vm/old', vm: 'gone' },
      { ref: 'vm/new', vm: 'here' },
    ]);
    expect(await runtime.snapshots.get('vm/new')).not.toHaveProperty('parent');
    await runtime.restore('vm/old', { id: 'copy' });
  });

  test('cannot take one of a name that is taken; once that is removed, it can', async () => {
    await using fixture = await reborn();
    const { runtime } = fixture;
    await expect(runtime.snapshot('vm', { id: 'old' })).rejects.toMatchObject({
      code: 'SnapshotAlreadyExists',
      details: { ref: 'vm/old' },
    });
    await runtime.snapshots.remove('vm/old');
    expect(await runtime.snapshot('vm', { id: 'old' })).toMatchObject({ vm: 'here', parent: 'vm/new' });
  });

  test('when it has gone, too, all that is left of both is listed', async () => {
    await using fixture = await reborn();
    const { runtime, clock } = fixture;
    await runtime.destroy('vm');
    await clock.advance(3_600_000);
    expect(await runtime.get('vm')).toBeUndefined();
    expect(await runtime.snapshots.list({ vmId: 'vm' })).toMatchObject([
      { ref: 'vm/old', vm: 'gone' },
      { ref: 'vm/new', vm: 'gone' },
    ]);
  });
});

describe('the tree of a state directory', () => {
  /** As `name(children)`. */
  const drawn = (nodes: readonly LineageNode[]): string =>
    nodes
      .map((node) => {
        const name = node.kind === 'vm' ? node.vm.id : node.snapshot.ref;
        return node.children.length > 0 ? `${name}(${drawn(node.children)})` : name;
      })
      .join(' ');

  test('shows what came of what: VMs hang below the snapshot that they go on from', async () => {
    await using fixture = await openFixture();
    const { runtime, clock } = fixture;
    await runtime.create({ id: 'other', image: 'builtin' });
    await runtime.create({ id: 'web', image: 'builtin' });
    for (const id of ['a', 'b']) {
      await clock.advance(1000);
      await runtime.snapshot('web', { id });
    }
    await clock.advance(1000);
    await runtime.restore('web/a', { id: 'copy' });
    expect(drawn(await runtime.snapshots.tree())).toBe('other web/a(web/b(web) copy)');
    await clock.advance(1000);
    await runtime.snapshot('copy', { id: 'c' });
    expect(drawn(await runtime.snapshots.tree())).toBe('other web/a(web/b(web) copy/c(copy))');
    expect(drawn(await runtime.snapshots.tree({ vmId: 'copy' }))).toBe('web/a(web/b(web) copy/c(copy))');
    expect(drawn(await runtime.snapshots.tree({ vmId: 'other' }))).toBe('other');
    expect(await runtime.snapshots.tree({ vmId: 'nobody' })).toEqual([]);
    await runtime.destroy('web');
    expect(drawn(await runtime.snapshots.tree())).toBe('other web/a(web/b copy/c(copy))');
    await runtime.snapshots.remove('web/b');
    const [, root] = await runtime.snapshots.tree();
    expect(root).toMatchObject({
      kind: 'snapshot',
      snapshot: { ref: 'web/a', sizeBytes: expect.any(Number) },
      children: [
        { children: [{ kind: 'vm', vm: { id: 'copy', from: 'web/a', ownBytes: expect.any(Number) } }] },
      ],
    });
  });

  test('leaves out snapshots that are not listed, and keeps what came of them', async () => {
    await using fixture = await openFixture();
    const { runtime, database } = fixture;
    await runtime.create({ id: 'web', image: 'builtin' });
    for (const id of ['a', 'b', 'c']) await runtime.snapshot('web', { id });
    database.prepare("UPDATE snapshots SET lifetime = 'lost' WHERE id = 'b'").run();
    expect(drawn(await runtime.snapshots.tree())).toBe('web/a(web/c(web))');
    database.prepare("UPDATE snapshots SET lifetime = 'lost' WHERE id = 'a'").run();
    expect(drawn(await runtime.snapshots.tree())).toBe('web/c(web)');
  });
});

test('what a snapshot takes of the disk is told, and how much of it nobody else uses', async () => {
  await using fixture = await openFixture();
  const { runtime, root } = fixture;
  await runtime.create({ id: 'vm', image: 'builtin' });
  const taken = await runtime.snapshot('vm', { id: 's' });
  const [uid = ''] = readdirSync(join(root, 'snapshots'));
  const dir = join(root, 'snapshots', uid);
  const bytesOf = (name: string) => lstatSync(join(dir, name)).blocks * 512;
  const sizeBytes = bytesOf('.') + bytesOf('disk.json') + bytesOf('manifest.json');
  expect(sizeBytes).toBeGreaterThan(0);
  expect(taken).toMatchObject({ sizeBytes, ownBytes: sizeBytes });
  linkSync(join(dir, 'disk.json'), join(root, 'another'));
  const shared = { sizeBytes, ownBytes: sizeBytes - bytesOf('disk.json') };
  expect(await runtime.snapshots.get('vm/s')).toMatchObject(shared);
  expect(await runtime.snapshots.list()).toMatchObject([shared]);
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
