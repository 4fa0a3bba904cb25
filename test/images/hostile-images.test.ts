import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, expect, test } from 'vitest';
import { runTool } from '../../src/host/index.ts';
import type { ImageSource } from '../../src/images/index.ts';
import { directory, hardLink, type MadeEntry, makeTar, symlink } from './make-tar.ts';
import { blobPath, type MadeImage, writeLayout } from './oci-layout.ts';
import { testFolder, testStore } from './test-store.ts';

const canary = '/tmp/alcove-escape-canary';
afterEach(() => {
  const escaped = existsSync(canary);
  rmSync(canary, { force: true, recursive: true });
  expect(escaped, 'a file was written outside').toBe(false);
});

const escapes: [what: string, entries: readonly MadeEntry[]][] = [
  ['..', [{ name: `../../../../../../..${canary}`, data: 'x' }]],
  ['.. in the middle', [{ name: `a/../../../../../../..${canary}`, data: 'x' }]],
  ['a hard link out of it', [{ name: 'a', is: hardLink('../../../../etc/passwd') }]],
  ['a hard link to a file of the host', [{ name: 'a', is: hardLink('/etc/passwd') }]],
  [
    'a hard link through a symlink',
    [
      { name: 'l', is: symlink('/etc') },
      { name: 'a', is: hardLink('l/passwd') },
    ],
  ],
  ['a whiteout of ..', [{ name: 'd/.wh...' }]],
];

test.each(escapes)('a layer with %s is refused, and nothing is kept', async (_what, entries) => {
  const { images, files } = testStore();
  const call = images.add(layoutWith({ layers: [makeTar(entries)] }));
  await expect(call).rejects.toMatchObject({ code: 'ImageInvalid' });
  expect(files()).toEqual([]);
  expect(await images.list()).toEqual([]);
});

test('absolute names and links to the host mean places in the image', async () => {
  const { images } = testStore();
  const entries = [
    { name: canary, data: 'x' },
    { name: 'away', is: symlink('../../../../..') },
    { name: 'away/inside', data: 'y' },
  ];
  const image = await images.add(layoutWith({ layers: [makeTar(entries)] }));
  const { stdout } = await runTool('unsquashfs', ['-lls', image.rootfsPath]);
  expect(stdout).toContain(`squashfs-root${canary}`);
  expect(stdout).toContain('squashfs-root/inside');
});

function layoutWith(image: MadeImage): ImageSource & { path: string } {
  const path = testFolder();
  writeLayout(path, { app: image });
  return { kind: 'oci-layout', path };
}

const sample: MadeImage = {
  layers: [
    makeTar([
      { name: 'd', is: directory },
      { name: 'd/a', data: 'x'.repeat(5000) },
    ]),
  ],
};

interface LayoutPaths {
  layout: string;
  manifest: string;
  config: string;
  layer: string;
}

/** Where the parts of the layout's one image lie. */
function partsOf(layout: string): LayoutPaths {
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
  const manifest = blobPath(layout, index.manifests[0].digest);
  const { config, layers } = JSON.parse(readFileSync(manifest, 'utf8'));
  return {
    layout,
    manifest,
    config: blobPath(layout, config.digest),
    layer: blobPath(layout, layers[0].digest),
  };
}

const damages: [what: string, damage: (paths: LayoutPaths) => void][] = [
  ['a manifest with other bytes', ({ manifest }) => appendFileSync(manifest, ' ')],
  ['a manifest that is no JSON', ({ manifest }) => writeFileSync(manifest, '{')],
  ['a manifest that is something else', ({ manifest }) => writeFileSync(manifest, '{"schemaVersion":2}')],
  ['no manifest', ({ manifest }) => rmSync(manifest)],
  ['a configuration with other bytes', ({ config }) => appendFileSync(config, ' ')],
  ['no configuration', ({ config }) => rmSync(config)],
  ['a layer with other bytes', ({ layer }) => appendFileSync(layer, 'x')],
  ['a layer of other content', ({ layer }) => writeFileSync(layer, gzipSync(makeTar([{ name: 'other' }])))],
  ['a cut layer', ({ layer }) => truncateSync(layer, 60)],
  ['an empty layer', ({ layer }) => truncateSync(layer, 0)],
  ['no layer', ({ layer }) => rmSync(layer)],
  ['no index', ({ layout }) => rmSync(join(layout, 'index.json'))],
  ['an index that is no JSON', ({ layout }) => writeFileSync(join(layout, 'index.json'), 'no')],
];

test.each(damages)('a layout with %s is refused, and nothing is kept', async (_what, damage) => {
  const source = layoutWith(sample);
  damage(partsOf(source.path));
  const { images, files } = testStore();
  await expect(images.add(source)).rejects.toMatchObject({ code: 'ImageInvalid' });
  expect(files()).toEqual([]);
  expect(await images.list()).toEqual([]);
});

test.each(damages)('an archive with %s is refused, and nothing is kept', async (_what, damage) => {
  const { path } = layoutWith(sample);
  damage(partsOf(path));
  const archive = join(testFolder(), 'image:with colon.tar');
  await runTool('tar', ['--create', '--file', archive, '--force-local', '--directory', path, '.']);
  const { images, files } = testStore();
  await expect(images.add({ kind: 'oci-archive', path: archive })).rejects.toMatchObject({
    code: 'ImageInvalid',
  });
  expect(files()).toEqual([]);
});

const lies: [what: string, image: MadeImage][] = [
  ['states other layers than it has', { ...sample, diffIds: [`sha256:${'1'.repeat(64)}`] }],
  ['states fewer layers than it has', { ...sample, diffIds: [] }],
  ['is for another machine', { ...sample, architecture: 's390x' }],
  ['has a layer that is no tar', { layers: [Buffer.alloc(2000, 'no tar')] }],
  ['has a layer cut in the middle', { layers: [(sample.layers[0] ?? Buffer.alloc(0)).subarray(0, 3000)] }],
];

test.each(lies)('an image that %s is refused, and nothing is kept', async (_what, image) => {
  const { images, files } = testStore();
  await expect(images.add(layoutWith(image))).rejects.toMatchObject({ code: 'ImageInvalid' });
  expect(files()).toEqual([]);
});

const noImages: [kind: 'oci-archive' | 'docker-archive', content: Buffer][] = [
  ['oci-archive', Buffer.alloc(2000, 'no tar')],
  ['oci-archive', makeTar([{ name: 'a' }])],
  ['oci-archive', makeTar([{ name: 'a' }]).subarray(0, 100)],
  ['docker-archive', Buffer.alloc(2000, 'no tar')],
  ['docker-archive', makeTar([{ name: 'a' }])],
  ['docker-archive', makeTar([{ name: 'manifest.json', data: 'no' }])],
];

test.each(noImages)('an %s that is none is refused', async (kind, content) => {
  const path = join(testFolder(), 'image.tar');
  writeFileSync(path, content);
  const { images, files } = testStore();
  await expect(images.add({ kind, path })).rejects.toMatchObject({ code: 'ImageInvalid' });
  expect(files()).toEqual([]);
});

test('a layout and archives of the same image are the same image', async () => {
  const source = layoutWith(sample);
  const dir = testFolder();
  const from = `oci:${source.path}:app`;
  await runTool('skopeo', ['--insecure-policy', 'copy', from, `oci-archive:${join(dir, 'oci.tar')}:app`]);
  await runTool('skopeo', [
    '--insecure-policy',
    'copy',
    from,
    `docker-archive:${join(dir, 'docker.tar')}:app:1`,
  ]);
  const { images } = testStore();
  const layout = await images.add(source);
  const oci = await images.add({ kind: 'oci-archive', path: join(dir, 'oci.tar') });
  const docker = await images.add({
    kind: 'docker-archive',
    path: join(dir, 'docker.tar'),
    reference: 'app:1',
  });
  expect(oci.digest).toBe(layout.digest);
  // Its manifest is made from the archive, so its digest is another; its content is not.
  expect(readFileSync(docker.rootfsPath).equals(readFileSync(layout.rootfsPath))).toBe(true);
});

test('which of several images is meant must be said, and must be there', async () => {
  const path = testFolder();
  writeLayout(path, { one: sample, two: { layers: [makeTar([{ name: 'two' }])] } });
  const { images } = testStore();
  await expect(images.add({ kind: 'oci-layout', path })).rejects.toMatchObject({
    code: 'InvalidInput',
    details: { field: 'reference' },
  });
  await expect(images.add({ kind: 'oci-layout', path, reference: 'three' })).rejects.toMatchObject({
    code: 'ImageNotFound',
  });
  expect((await images.add({ kind: 'oci-layout', path, reference: 'two' })).references).toEqual([]);
});

test('a tar that is cut, malformed or empty is refused, and nothing is kept', async () => {
  const whole = makeTar([{ name: 'a', data: 'x'.repeat(3000) }, { name: 'b' }]);
  const { images, files } = testStore();
  const path = join(testFolder(), 'rootfs.tar');
  const cuts = [0, 100, 512, 2000, 3584, 4096].map((length) => whole.subarray(0, length));
  for (const bytes of [
    ...cuts,
    ...cuts.map((cut) => gzipSync(cut)),
    gzipSync(whole).subarray(0, -3),
    Buffer.from('text'),
  ]) {
    writeFileSync(path, bytes);
    await expect(images.add({ kind: 'tar', path }), `${bytes.length} bytes`).rejects.toMatchObject({
      code: 'ImageInvalid',
    });
  }
  expect(files()).toEqual([]);
});

test('a sparse file of absurd size costs neither time nor disk', async () => {
  const dir = testFolder();
  writeFileSync(join(dir, 'bomb'), '');
  truncateSync(join(dir, 'bomb'), 2 ** 42);
  const path = join(testFolder(), 'bomb.tar');
  await runTool('tar', [
    '--create',
    '--sparse',
    '--hole-detection=seek',
    '--file',
    path,
    '--directory',
    dir,
    '.',
  ]);
  const { images, files } = testStore();
  await expect(images.add({ kind: 'tar', path })).rejects.toMatchObject({ code: 'ImageInvalid' });
  expect(files()).toEqual([]);
  expect(readdirSync(dir)).toEqual(['bomb']);
});
