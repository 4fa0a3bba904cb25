import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { runTool } from '../../src/host/index.ts';
import { startRegistry } from './loopback-registry.ts';
import { type MadeEntry, makeTar } from './make-tar.ts';
import { type MadeImage, writeLayout } from './oci-layout.ts';
import { oddLayers } from './odd-layers.ts';
import { testFolder, testStore } from './test-store.ts';
import { asLines, listTree, unpackSquashfs } from './tree-listing.ts';

const image = (entries: readonly MadeEntry[], more: Partial<MadeImage> = {}): MadeImage => ({
  layers: [makeTar(entries)],
  ...more,
});

async function registryWith(images: Record<string, MadeImage | readonly MadeImage[]>) {
  const dir = testFolder();
  const registry = await startRegistry(dir);
  onTestFinished(() => registry[Symbol.asyncDispose]());
  const layout = join(dir, 'layout');
  writeLayout(layout, images);
  for (const tag of Object.keys(images)) await registry.push(layout, tag, `team/app:${tag}`);
  return { dir, layout, registry, repository: `${registry.host}/team/app` };
}

test('an image is pulled by tag, with its tree, configuration and digest', async () => {
  const config = {
    Env: ['PATH=/usr/bin:/bin', 'EMPTY=', 'WITH=a=b'],
    User: '1000:1000',
    WorkingDir: '/srv',
    Entrypoint: ['/bin/tini', '--'],
    Cmd: ['app', '-v'],
  };
  const layers = oddLayers.map((entries) => makeTar(entries));
  const { dir, layout, repository } = await registryWith({ odd: { layers, config } });
  const { images } = testStore();
  const steps: string[] = [];
  const pulled = await images.add(
    { kind: 'registry', reference: `${repository}:odd`, tls: 'off' },
    { onProgress: ({ step }) => steps.push(step), name: 'odd' },
  );
  expect(steps).toEqual([`copying ${repository}:odd`, 'applying 3 layers', 'writing squashfs']);
  expect(pulled.config).toEqual({
    env: { PATH: '/usr/bin:/bin', EMPTY: '', WITH: 'a=b' },
    user: '1000:1000',
    workdir: '/srv',
    entrypoint: ['/bin/tini', '--'],
    command: ['app', '-v'],
  });
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
  expect(pulled.digest).toBe(index.manifests[0].digest);
  expect(pulled.references).toEqual([`${repository}:odd`, 'odd']);

  await unpackSquashfs(pulled.rootfsPath, join(dir, 'ours'));
  await runTool('umoci', ['unpack', '--image', `${layout}:odd`, join(dir, 'theirs')]);
  const ours = asLines(await listTree(join(dir, 'ours')));
  expect(ours).toEqual(asLines(await listTree(join(dir, 'theirs/rootfs'))));
});

test('layers compressed with zstd, also in many frames, are read', async () => {
  const { dir, repository } = await registryWith({
    zstd: { layers: oddLayers.map((entries) => makeTar(entries)), compression: 'zstd' },
    gzip: { layers: oddLayers.map((entries) => makeTar(entries)), compression: 'gzip' },
  });
  const { images } = testStore();
  const trees: string[][] = [];
  for (const tag of ['zstd', 'gzip']) {
    const { rootfsPath } = await images.add({
      kind: 'registry',
      reference: `${repository}:${tag}`,
      tls: 'off',
    });
    await unpackSquashfs(rootfsPath, join(dir, tag));
    trees.push(asLines(await listTree(join(dir, tag))));
  }
  expect(trees[0]).toEqual(trees[1]);
});

test('of an image for several platforms the one for this machine is taken', async () => {
  const { dir, repository } = await registryWith({
    multi: [image([{ name: 'other' }], { architecture: 's390x' }), image([{ name: 'ours' }])],
    foreign: [image([{ name: 'other' }], { architecture: 's390x' })],
    single: image([{ name: 'other' }], { architecture: 's390x' }),
  });
  const { images } = testStore();
  const { rootfsPath } = await images.add({ kind: 'registry', reference: `${repository}:multi`, tls: 'off' });
  await unpackSquashfs(rootfsPath, join(dir, 'ours'));
  expect([...(await listTree(join(dir, 'ours'))).keys()]).toContain('./ours');
  for (const tag of ['foreign', 'single']) {
    const call = images.add({ kind: 'registry', reference: `${repository}:${tag}`, tls: 'off' });
    await expect(call).rejects.toMatchObject({
      code: 'ImageInvalid',
      message: expect.stringMatching(/linux\/(amd64|arm64)/),
    });
  }
});

test('a tag is resolved when it is pulled, and means that image until it is pulled again', async () => {
  const { registry, repository, layout } = await registryWith({ one: image([{ name: 'one' }]) });
  const { images } = testStore();
  const reference = `${repository}:moving`;
  await registry.push(layout, 'one', 'team/app:moving');
  const first = await images.add({ kind: 'registry', reference, tls: 'off' });
  writeLayout(layout, { two: image([{ name: 'two' }]) });
  await registry.push(layout, 'two', 'team/app:moving');

  await registry.takeRequests();
  expect((await images.resolve(reference)).digest).toBe(first.digest);
  expect(await registry.takeRequests()).toEqual([]);

  const second = await images.add({ kind: 'registry', reference, tls: 'off' });
  expect(second.digest).not.toBe(first.digest);
  expect((await images.resolve(reference)).digest).toBe(second.digest);
  expect((await images.resolve(first.digest)).references).toEqual([]);

  const pinned = await images.add({
    kind: 'registry',
    reference: `${reference}@${first.digest}`,
    tls: 'off',
  });
  expect(pinned.digest).toBe(first.digest);
});

test('an image that is here already is not copied again', async () => {
  const { registry, repository, layout } = await registryWith({ a: image([{ name: 'a' }]) });
  await registry.push(layout, 'a', 'team/app:b');
  const { images } = testStore();
  await images.add({ kind: 'registry', reference: `${repository}:a`, tls: 'off' });
  await registry.takeRequests();
  const again = await images.add({ kind: 'registry', reference: `${repository}:b`, tls: 'off' });
  expect(again.references).toEqual([`${repository}:a`, `${repository}:b`]);
  expect((await registry.takeRequests()).filter((request) => request.includes('/blobs/'))).toEqual([]);
});

test('calls at once for one image copy it once, and each sees the progress', async () => {
  const { registry, repository } = await registryWith({ a: image([{ name: 'a', data: 'content' }]) });
  const { images } = testStore();
  const steps: string[][] = [[], [], []];
  const pulled = await Promise.all(
    steps.map((seen, index) =>
      images.add(
        { kind: 'registry', reference: `${repository}:a`, tls: 'off' },
        { name: `name-${index}`, onProgress: ({ step }) => seen.push(step) },
      ),
    ),
  );
  expect(new Set(pulled.map(({ digest }) => digest)).size).toBe(1);
  expect(steps[1]).toEqual(steps[0]);
  expect(steps[0]).toContain('writing squashfs');
  expect((await images.list()).map(({ references }) => [...references].sort())).toEqual([
    [`${repository}:a`, 'name-0', 'name-1', 'name-2'],
  ]);
  const blobs = (await registry.takeRequests()).filter(
    (request) => request.startsWith('GET') && request.includes('/blobs/'),
  );
  expect(blobs.length).toBe(new Set(blobs).size);
});

test('one caller that gives up leaves the others their image', async () => {
  const { repository } = await registryWith({ a: image([{ name: 'a' }]) });
  const { images, files } = testStore();
  const source = { kind: 'registry', reference: `${repository}:a`, tls: 'off' } as const;
  const abort = new AbortController();
  const given = images.add(source, { signal: abort.signal, onProgress: () => abort.abort() });
  const kept = images.add(source);
  await expect(given).rejects.toMatchObject({ code: 'Cancelled' });
  expect(await kept).toMatchObject({ references: [`${repository}:a`] });
  expect(files()).toHaveLength(1);
});

test('what a registry does not have is not found', async () => {
  const { registry, repository } = await registryWith({ a: image([{ name: 'a' }]) });
  const { images, files } = testStore();
  const digest = `sha256:${'0'.repeat(64)}`;
  for (const reference of [
    `${repository}:none`,
    `${registry.host}/nobody/nothing:a`,
    `${repository}@${digest}`,
  ]) {
    const call = images.add({ kind: 'registry', reference, tls: 'off' });
    await expect(call, reference).rejects.toMatchObject({ code: 'ImageNotFound' });
  }
  expect(files()).toEqual([]);
});

test('plain HTTP is not spoken unless it is asked for', async () => {
  const { repository } = await registryWith({ a: image([{ name: 'a' }]) });
  const { images } = testStore();
  const call = images.add({ kind: 'registry', reference: `${repository}:a` });
  await expect(call).rejects.toMatchObject({ code: 'ToolFailed', remedy: expect.stringContaining('TLS') });
});

test('a registry that hands out other bytes than were pushed is refused', async () => {
  const { dir, repository } = await registryWith({ a: image([{ name: 'a', data: 'the content' }]) });
  const { stdout } = await runTool('find', [join(dir, 'registry'), '-path', '*/blobs/sha256/*/data']);
  const blobs = stdout.split('\n').filter(Boolean);
  for (const path of blobs) {
    const data = readFileSync(path);
    if (data[0] === 0x1f) writeFileSync(path, Buffer.concat([data.subarray(0, -1), Buffer.from([1])]));
  }
  const { images, files } = testStore();
  const call = images.add({ kind: 'registry', reference: `${repository}:a`, tls: 'off' });
  await expect(call).rejects.toMatchObject({ code: 'ImageInvalid' });
  expect(files()).toEqual([]);
});

test('a registry that nothing answers for is named', async () => {
  const dir = testFolder();
  const registry = await startRegistry(dir);
  await registry[Symbol.asyncDispose]();
  const { images } = testStore();
  const call = images.add({ kind: 'registry', reference: `${registry.host}/a:b`, tls: 'off' });
  await expect(call).rejects.toMatchObject({
    code: 'ToolFailed',
    message: expect.stringContaining(registry.host),
  });
});
