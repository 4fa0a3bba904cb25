import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openFixture, type RuntimeFixture } from './runtime-fixture.ts';

let fixture: RuntimeFixture;
beforeEach(async () => {
  fixture = await openFixture();
  await fixture.runtime.create({ id: 'vm', image: 'builtin' });
  await fixture.runtime.snapshot('vm', { id: 's', labels: { use: 'base' } });
});
afterEach(() => fixture[Symbol.asyncDispose]());

const uidOf = () => String(fixture.database.prepare('SELECT uid FROM snapshots').get()?.uid);

test('labels of a snapshot are listed, and are there after a restart', async () => {
  expect(await fixture.runtime.snapshots.get('vm/s')).toMatchObject({ labels: { use: 'base' } });
  const again = await fixture.reopen();
  expect(again.snapshots.labelled('use')).toEqual([{ ref: 'vm/s', value: 'base' }]);
  expect(again.snapshots.labelled('other')).toEqual([]);
});

test('a label that is none is refused', async () => {
  const labels = { '': 'x' };
  await expect(fixture.runtime.snapshot('vm', { labels })).rejects.toHaveProperty('code', 'InvalidInput');
});

test('whether a snapshot is there is seen from its files', async () => {
  const { runtime, root } = fixture;
  expect(await runtime.snapshots.has('vm/s')).toBe(true);
  expect(await runtime.snapshots.has('vm/other')).toBe(false);
  rmSync(join(root, 'snapshots', uidOf()), { recursive: true });
  expect(await runtime.snapshots.has('vm/s')).toBe(false);
});

test('one that is released goes when nothing needs it any more', async () => {
  const { runtime } = fixture;
  await runtime.restore('vm/s', { id: 'copy' });
  await runtime.snapshots.release('vm/s');
  expect(await runtime.snapshots.get('vm/s')).toMatchObject({ lifetime: 'while needed' });
  await runtime.destroy('copy');
  expect(await runtime.snapshots.get('vm/s')).toBeUndefined();
});

test('one that is released and held goes when it is no longer held', async () => {
  const { runtime } = fixture;
  const held = runtime.snapshots.hold('vm/s');
  await runtime.snapshots.release('vm/s');
  expect(await runtime.snapshots.has('vm/s')).toBe(true);
  await expect(runtime.snapshots.remove('vm/s')).rejects.toHaveProperty('code', 'SnapshotInUse');
  held[Symbol.dispose]();
  await runtime.snapshots.release('vm/s');
  expect(await runtime.snapshots.has('vm/s')).toBe(false);
});

test('one is in use while a snapshot or a VM that came from it is there', async () => {
  const { runtime } = fixture;
  expect(runtime.snapshots.usersOf('vm/s')).toEqual([]);
  await runtime.restore('vm/s', { id: 'copy' });
  expect(runtime.snapshots.usersOf('vm/s')).toEqual(['VM copy']);
  await runtime.snapshot('copy', { id: 'child' });
  await runtime.destroy('copy');
  expect(runtime.snapshots.usersOf('vm/s')).toEqual(['snapshot copy/child']);
  await runtime.snapshots.remove('copy/child');
  expect(runtime.snapshots.usersOf('vm/s')).toEqual([]);
});

test('its digest is of its content', async () => {
  const { runtime } = fixture;
  await runtime.start('vm');
  await runtime.exec('vm', { command: 'write /root/note new' });
  await runtime.snapshot('vm', { id: 'changed', memory: 'exclude' });
  const { digest } = runtime.snapshots.facts('vm/s');
  expect(runtime.snapshots.facts('vm/s')).toMatchObject({
    kind: 'disk',
    backend: 'memory',
    machine: { cpus: 1, memoryMiB: 256, diskMiB: 2048, network: 'none' },
  });
  expect(runtime.snapshots.facts('vm/changed').digest).not.toBe(digest);
});
