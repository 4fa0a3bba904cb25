import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runTool } from '../../src/host/index.ts';
import { debianRootfs } from './debian-rootfs.ts';
import { testFolder, testStore } from './test-store.ts';
import { asLines, listTree, unpackSquashfs } from './tree-listing.ts';

test('a Debian root filesystem is imported file by file as tar unpacks it', {
  timeout: 300_000,
}, async () => {
  const rootfs = await debianRootfs({ packages: ['gcc', 'libc6-dev', 'python3', 'dpkg'] });
  const { images } = testStore();
  const image = await images.add({ kind: 'tar', path: rootfs });
  const dir = testFolder();
  mkdirSync(join(dir, 'theirs'));
  await runTool('tar', ['--extract', '--numeric-owner', '--xattrs', '--xattrs-include=*', '--file', rootfs], {
    cwd: join(dir, 'theirs'),
  });
  await unpackSquashfs(image.rootfsPath, join(dir, 'ours'));
  const ours = asLines(await listTree(join(dir, 'ours')));
  expect(ours.length).toBeGreaterThan(5000);
  expect(ours).toEqual(asLines(await listTree(join(dir, 'theirs'))));
});
