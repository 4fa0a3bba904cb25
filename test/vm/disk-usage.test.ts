import { linkSync, lstatSync, mkdirSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Keepsake } from '../../src/vm/index.ts';
import { addImage, openOrigin, sha256Of } from './portable-fixture.ts';

const kib = 1024;

/** What `du` says a path takes, in bytes. */
function du(path: string): number {
  const stats = lstatSync(path);
  const below = stats.isDirectory() ? readdirSync(path).map((name) => du(join(path, name))) : [];
  return below.reduce((sum, bytes) => sum + bytes, stats.blocks * 512);
}

test('disk use is what blocks are taken; a file of many links counts for each owner, and once in all', async () => {
  await using fixture = await openOrigin();
  const { runtime, root, backend, realImages } = fixture;
  const [first = '', second = ''] = fixture.database
    .prepare('SELECT uid FROM snapshots ORDER BY seq')
    .all()
    .map(({ uid }) => join(root, 'snapshots', String(uid)));
  // A layer as the qemu backend shares it: a template, two snapshots and the VM have it.
  const layer = join(root, 'templates', 'blank');
  writeFileSync(layer, Buffer.alloc(400 * kib, 1));
  for (const dir of [first, second, join(root, 'vms', 'vm')]) linkSync(layer, join(dir, 'layer'));
  writeFileSync(join(root, 'vms', 'vm', 'top'), Buffer.alloc(80 * kib, 1));
  // Large, and takes nothing.
  writeFileSync(join(root, 'vms', 'vm', 'hole'), '');
  truncateSync(join(root, 'vms', 'vm', 'hole'), 1 << 30);
  mkdirSync(join(root, 'spares', 'one'));
  writeFileSync(join(root, 'spares', 'one', 'memory'), Buffer.alloc(40 * kib, 1));
  await addImage(fixture, sha256Of('large'), Buffer.alloc(120 * kib, 1));
  const keepsake: Keepsake = {
    name: 'blank-2048',
    kind: 'blank-disk',
    of: '2 GiB',
    paths: [layer],
    lastUsedMs: 7,
    neededBy: 'the next VM',
  };
  Object.assign(backend, { keepsakes: { list: async () => [keepsake], remove: async () => false } });

  const usage = await runtime.diskUsage();
  const vmBytes = du(join(root, 'vms', 'vm'));
  expect(usage.vms).toEqual([
    { id: 'vm', status: 'running', sizeBytes: vmBytes, ownBytes: vmBytes - 400 * kib },
  ]);
  expect(vmBytes).toBeLessThan(1 << 20);
  expect(usage.snapshots).toEqual(
    [first, second].map((dir, index) => ({
      ref: `vm/s${index + 1}`,
      state: 'whole',
      sizeBytes: du(dir),
      ownBytes: du(dir) - 400 * kib,
    })),
  );
  const images = await realImages.list();
  expect(usage.images).toEqual(
    images.map(({ digest, rootfsPath }) => ({
      digest,
      references: [],
      sizeBytes: du(rootfsPath),
      ownBytes: du(rootfsPath),
    })),
  );
  const { paths, ...described } = keepsake;
  expect(usage.templates).toEqual([{ ...described, backend: 'memory', sizeBytes: 400 * kib, ownBytes: 0 }]);
  expect(usage.spares).toEqual({ sizeBytes: du(join(root, 'spares')), ownBytes: du(join(root, 'spares')) });
  expect(usage.totalBytes).toBe(du(root) - 3 * 400 * kib);
  const { vms, snapshots, templates, kernels, spares, rest } = usage;
  const own = [...vms, ...snapshots, ...usage.images, ...templates, kernels, spares, rest];
  expect(
    own.reduce((sum, { ownBytes }) => sum + ownBytes, 400 * kib),
    'and what is shared, once',
  ).toBe(usage.totalBytes);
  // What a snapshot says of itself is the same, without a look at the others.
  for (const { ref, sizeBytes, ownBytes } of snapshots)
    expect(await runtime.snapshots.get(ref)).toMatchObject({ sizeBytes, ownBytes });
});

test('a snapshot whose files are damaged is counted, and said to be', async () => {
  await using fixture = await openOrigin();
  fixture.database.prepare("UPDATE snapshots SET lifetime = 'lost' WHERE id = 's1'").run();
  expect((await fixture.runtime.diskUsage()).snapshots).toMatchObject([
    { ref: 'vm/s1', state: 'damaged' },
    { ref: 'vm/s2', state: 'whole' },
  ]);
});
