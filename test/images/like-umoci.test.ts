import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runTool } from '../../src/host/index.ts';
import { makeTar } from './make-tar.ts';
import { writeLayout } from './oci-layout.ts';
import { oddLayers } from './odd-layers.ts';
import { testFolder, testStore } from './test-store.ts';
import { asLines, listTree, unpackSquashfs } from './tree-listing.ts';

test.each(['plain', 'gzip'] as const)('%s layers give the tree that umoci unpacks', async (compression) => {
  const dir = testFolder();
  writeLayout(join(dir, 'layout'), {
    odd: { layers: oddLayers.map((entries) => makeTar(entries)), compression },
  });
  const { images } = testStore();
  const image = await images.add({ kind: 'oci-layout', path: join(dir, 'layout'), reference: 'odd' });
  await unpackSquashfs(image.rootfsPath, join(dir, 'ours'));
  await runTool('umoci', ['unpack', '--image', `${join(dir, 'layout')}:odd`, join(dir, 'theirs')]);

  const ours = await listTree(join(dir, 'ours'));
  const theirs = await listTree(join(dir, 'theirs/rootfs'));
  expect(asLines(ours)).toEqual(asLines(theirs));
});
