import { copyFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runTool } from '../../src/host/index.ts';
import { makeTar, symlink } from './make-tar.ts';
import { writeLayout } from './oci-layout.ts';
import { testFolder, testStore } from './test-store.ts';
import { unpackSquashfs } from './tree-listing.ts';

test('a minimal image of busybox and a layer over it runs', async () => {
  const dir = testFolder();
  const tree = join(dir, 'tree');
  mkdirSync(join(tree, 'bin'), { recursive: true });
  copyFileSync('/bin/busybox', join(tree, 'bin/busybox'));
  await runTool('chroot', [tree, '/bin/busybox', '--install', '-s', '/bin']);
  await runTool('tar', ['--create', '--file', join(dir, 'base.tar'), '--directory', tree, '.']);
  const { images } = testStore();
  const base = await images.add({ kind: 'tar', path: join(dir, 'base.tar') }, { name: 'minimal' });
  await unpackSquashfs(base.rootfsPath, join(dir, 'unpacked'));
  const echoed = await runTool('chroot', [join(dir, 'unpacked'), '/bin/sh', '-c', 'echo $((6 * 7)) | cat']);
  expect(echoed.stdout).toBe('42\n');

  const hello = makeTar([
    { name: 'bin/hello', data: '#!/bin/sh\necho hello\n', mode: 0o755 },
    { name: 'bin/.wh.vi' },
    { name: 'bin/hi', is: symlink('hello') },
  ]);
  writeLayout(join(dir, 'layout'), { app: { layers: [readFileSync(join(dir, 'base.tar')), hello] } });
  const app = await images.add({ kind: 'oci-layout', path: join(dir, 'layout') });
  await unpackSquashfs(app.rootfsPath, join(dir, 'app'));
  const said = await runTool('chroot', [join(dir, 'app'), '/bin/sh', '-c', 'hi; ls /bin/vi 2>&1; true']);
  expect(said.stdout).toMatch(/^hello\nls: .*No such file/);
});
