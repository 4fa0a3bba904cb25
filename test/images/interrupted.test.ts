import { randomBytes } from 'node:crypto';
import { globSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { runTool } from '../../src/host/index.ts';
import { builtinImage, type ImageSource, openKernelStore } from '../../src/images/index.ts';
import { makeTar } from './make-tar.ts';
import { writeLayout } from './oci-layout.ts';
import { testFolder, testStore } from './test-store.ts';

/** Does not compress, so that its squashfs grows while it is written. */
const large = makeTar([{ name: 'large', data: randomBytes(48 << 20) }]);

function sources(): Record<string, ImageSource> {
  const dir = testFolder();
  writeFileSync(join(dir, 'rootfs.tar'), large);
  writeLayout(join(dir, 'layout'), { app: { layers: [large], compression: 'plain' } });
  return {
    tar: { kind: 'tar', path: join(dir, 'rootfs.tar') },
    directory: { kind: 'directory', path: join(dir, 'layout') },
    layout: { kind: 'oci-layout', path: join(dir, 'layout') },
  };
}

const steps: [kind: string, step: string][] = [
  ['tar', 'applying'],
  ['tar', 'writing'],
  ['directory', 'applying'],
  ['directory', 'writing'],
  ['layout', 'copying'],
  ['layout', 'applying'],
  ['layout', 'writing'],
];

test.each(steps)('an import of a %s that is cancelled when it is %s leaves nothing', async (kind, at) => {
  const { images, files } = testStore();
  const source = sources()[kind];
  if (!source) throw new Error(kind);
  const abort = new AbortController();
  const call = images.add(source, {
    signal: abort.signal,
    onProgress: ({ step }) => step.startsWith(at) && abort.abort(),
  });
  await expect(call).rejects.toMatchObject({ code: 'Cancelled' });
  expect(files()).toEqual([]);
  expect(await images.list()).toEqual([]);
});

test('an import that is cancelled while the squashfs is half written leaves nothing', async () => {
  const { images, files, stateDir } = testStore();
  const { tar } = sources();
  if (!tar) throw new Error('no tar');
  const abort = new AbortController();
  const call = images.add(tar, { signal: abort.signal }).then(
    () => 'added',
    (error: unknown) => error,
  );
  const half = () =>
    globSync(join(stateDir.tmpDir, '*/rootfs.squashfs')).some((path) => statSync(path).size > 1 << 20);
  while (!half()) await new Promise((resolve) => setImmediate(resolve));
  abort.abort(new Error('enough'));
  expect(await call).toMatchObject({ code: 'Cancelled', cause: { message: 'enough' } });
  expect(files()).toEqual([]);
});

test('a call that is cancelled before it starts does nothing', async () => {
  const { images, files } = testStore();
  const signal = AbortSignal.abort();
  await expect(images.resolve(builtinImage, { signal })).rejects.toMatchObject({ code: 'Cancelled' });
  expect(files()).toEqual([]);
});

test('after a cancelled import the same one succeeds', async () => {
  const { images } = testStore();
  const { tar } = sources();
  if (!tar) throw new Error('no tar');
  const abort = new AbortController();
  const first = images.add(tar, { signal: abort.signal, onProgress: () => abort.abort() });
  const second = first.catch(() => images.add(tar));
  await expect(first).rejects.toMatchObject({ code: 'Cancelled' });
  expect(await second).toMatchObject({ source: expect.stringMatching(/^tar:/) });
});

/** A file system of a few MiB, gone after the test. */
async function smallDisk(sizeMiB: number): Promise<string> {
  const dir = testFolder();
  await runTool('mount', ['-t', 'tmpfs', '-o', `size=${sizeMiB}m`, 'tmpfs', dir]);
  onTestFinished(async () => void (await runTool('umount', [dir])));
  return dir;
}

test.each(['tar', 'layout', 'directory'])(
  'a disk that is full during an import of a %s is named, and nothing is left',
  async (kind) => {
    const source = sources()[kind];
    if (!source) throw new Error(kind);
    const { images, files } = testStore(join(await smallDisk(8), 'state'));
    await expect(images.add(source)).rejects.toMatchObject({ code: 'StateUnusable' });
    expect(files()).toEqual([]);
    expect(await images.list()).toEqual([]);
    expect(await images.resolve(builtinImage)).toMatchObject({ references: [builtinImage] });
  },
);

test('a disk that is full when a kernel is fetched is named, and nothing is left', async () => {
  const { stateDir } = testStore(join(await smallDisk(40), 'state'));
  const kernels = openKernelStore({ stateDir, agentPath: '/bin/busybox' });
  await expect(kernels.resolve()).rejects.toMatchObject({ code: 'StateUnusable' });
  expect(globSync([join(stateDir.kernelsDir, '*'), join(stateDir.tmpDir, '*')])).toEqual([]);
});
