import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { runTool } from '../../src/host/index.ts';
import { builtinImage, type ImageSource } from '../../src/images/index.ts';
import { makeTar } from './make-tar.ts';
import { oddLayers } from './odd-layers.ts';
import { type TestStore, testFolder, testStore } from './test-store.ts';
import { asLines, listTree, unpackSquashfs } from './tree-listing.ts';

function tarFile(content: string | Buffer = makeTar([{ name: 'a', data: 'x' }])): {
  kind: 'tar';
  path: string;
} {
  const path = join(testFolder(), 'rootfs.tar');
  writeFileSync(path, content);
  return { kind: 'tar', path };
}

test('the built-in image is made once, from what the host has', async () => {
  const { images, files } = testStore();
  expect(await images.find(builtinImage)).toBeUndefined();
  const [image, again] = await Promise.all([images.resolve(builtinImage), images.resolve(builtinImage)]);
  expect(again).toEqual(image);
  expect(image).toMatchObject({ references: [builtinImage], config: { env: {} } });
  expect(files()).toHaveLength(1);
  const dir = join(testFolder(), 'tree');
  await unpackSquashfs(image.rootfsPath, dir);
  expect(
    spawnSync('chroot', [
      dir,
      '/bin/sh',
      '-lc',
      'id -un; . /etc/os-release; echo $PRETTY_NAME; ls /usr/bin/awk',
    ]).stdout.toString(),
  ).toBe('root\nAlcove built-in\n/usr/bin/awk\n');
  expect(statSync(join(dir, 'tmp')).mode & 0o7777).toBe(0o1777);

  const other = testStore();
  expect((await other.images.resolve(builtinImage)).digest).toBe(image.digest);
});

test('the same image gives the same bytes wherever it is made', async () => {
  const source = tarFile(makeTar(oddLayers[0] ?? []));
  const bytes = [];
  for (const { images } of [testStore(), testStore()]) {
    bytes.push(readFileSync((await images.add(source)).rootfsPath));
  }
  expect(bytes[0]?.equals(bytes[1] ?? Buffer.alloc(0))).toBe(true);
});

test('a tar is named by its uncompressed bytes, however it is compressed', async () => {
  const tar = makeTar([{ name: 'a', data: 'x'.repeat(100_000) }]);
  const xz = spawnSync('xz', ['--stdout'], { input: tar }).stdout;
  const { images } = testStore();
  const digests = new Set<string>();
  for (const bytes of [tar, gzipSync(tar), zstdCompressSync(tar), xz])
    digests.add((await images.add(tarFile(bytes))).digest);
  const { stdout } = await runTool('sha256sum', [tarFile(tar).path]);
  expect([...digests]).toEqual([`sha256:${stdout.slice(0, 64)}`]);
  expect(await images.list()).toHaveLength(1);
});

test.each(['gnu', 'posix'])('a tar of GNU tar (%s) gives the tree it was made of', async (format) => {
  const dir = testFolder();
  await oddTree(join(dir, 'tree'));
  const args = [
    '--create',
    '--sparse',
    `--format=${format}`,
    '--file',
    join(dir, 'rootfs.tar'),
    '-C',
    join(dir, 'tree'),
    '.',
  ];
  const xattrs = format === 'posix' ? ['--xattrs', '--xattrs-include=*'] : [];
  await runTool('tar', [...xattrs, ...args]);
  const { images } = testStore();
  const { rootfsPath } = await images.add({ kind: 'tar', path: join(dir, 'rootfs.tar') });
  await unpackSquashfs(rootfsPath, join(dir, 'ours'));
  const withoutXattrs = (line: string) =>
    format === 'gnu' ? line.replace(/ [\w.-]+=0x[0-9a-f]*/g, ' ') : line;
  expect(asLines(await listTree(join(dir, 'ours')))).toEqual(
    asLines(await listTree(join(dir, 'tree'))).map(withoutXattrs),
  );
});

test('a directory gives the tree it is, and the same digest for a copy', async () => {
  const dir = testFolder();
  await oddTree(join(dir, 'tree'));
  await runTool('cp', ['--archive', join(dir, 'tree'), join(dir, 'copy')]);
  const expected = asLines(await listTree(join(dir, 'tree')));
  const socket = createServer().listen(join(dir, 'tree/socket'));
  onTestFinished(() => void socket.close());
  await new Promise((resolve) => socket.once('listening', resolve));
  await runTool('touch', ['--reference', join(dir, 'copy'), join(dir, 'tree')]);

  const { images } = testStore();
  const image = await images.add({ kind: 'directory', path: join(dir, 'tree') });
  await unpackSquashfs(image.rootfsPath, join(dir, 'ours'));
  expect(asLines(await listTree(join(dir, 'ours')))).toEqual(expected);

  const copy = await images.add({ kind: 'directory', path: join(dir, 'copy') });
  expect(copy.digest).toBe(image.digest);
  chmodSync(join(dir, 'copy/etc'), 0o700);
  expect((await images.add({ kind: 'directory', path: join(dir, 'copy') })).digest).not.toBe(image.digest);
});

/** A tree on disk with what the layers of the other tests hold, and a file with holes. */
async function oddTree(dir: string): Promise<void> {
  mkdirSync(dir);
  const entries = [...(oddLayers[0] ?? []), ...(oddLayers[2] ?? [])].filter(
    ({ name }) => !name.includes('.wh.'),
  );
  await runTool('tar', ['--extract', '--xattrs', '--xattrs-include=*', '-C', dir], {
    input: (async function* () {
      yield makeTar([...entries, { name: 'srv/holes', data: 'at the start' }]);
    })(),
  });
  truncateSync(join(dir, 'srv/holes'), 5 << 20);
  appendFileSync(join(dir, 'srv/holes'), 'at the end');
  writeFileSync(join(dir, 'srv/hole-at-end'), 'at the start');
  truncateSync(join(dir, 'srv/hole-at-end'), 3 << 20);
  writeFileSync(join(dir, 'srv/only-hole'), '');
  truncateSync(join(dir, 'srv/only-hole'), 1_000_001);
  await runTool('setfattr', ['-n', 'user.empty', join(dir, 'srv/holes')]);
}

test('images are found by name, reference, digest and the start of a digest', async () => {
  const { images } = testStore();
  const image = await images.add(tarFile(), { name: 'tools:1' });
  const other = await images.add(tarFile(makeTar([{ name: 'b' }])), { name: 'base' });
  const hex = image.digest.slice('sha256:'.length);
  for (const name of ['tools:1', image.digest, hex, hex.slice(0, 8), `sha256:${hex.slice(0, 12)}`]) {
    expect((await images.resolve(name)).digest, name).toBe(image.digest);
  }
  await images.add(tarFile(), { name: 'plain:latest' });
  expect((await images.resolve('plain')).references).toEqual(['tools:1', 'plain:latest']);
  for (const name of ['tools', 'tools:2', hex.slice(0, 7), '0'.repeat(64), '', '../x', "' OR 1=1 --"]) {
    expect(await images.find(name), name).toBeUndefined();
    await expect(images.resolve(name)).rejects.toMatchObject({ code: 'ImageNotFound' });
  }
  expect((await images.list()).map(({ digest }) => digest)).toEqual([other.digest, image.digest]);
});

test('a name that is given again means the new image', async () => {
  const { images } = testStore();
  const first = await images.add(tarFile(), { name: 'app' });
  const second = await images.add(tarFile(makeTar([{ name: 'b' }])), { name: 'app' });
  expect((await images.resolve('app')).digest).toBe(second.digest);
  expect((await images.resolve(first.digest)).references).toEqual([]);
});

test('an image is removed with its references and its file, unless it is in use', async () => {
  const { images, files } = testStore();
  const image = await images.add(tarFile(), { name: 'app' });
  await expect(images.remove('app', new Set([image.digest]))).rejects.toMatchObject({ code: 'ImageInUse' });
  expect(files()).toHaveLength(1);
  await images.remove('app', new Set(['sha256:another']));
  expect(await images.list()).toEqual([]);
  expect(files()).toEqual([]);
  await expect(images.remove('app', new Set())).rejects.toMatchObject({ code: 'ImageNotFound' });
  expect((await images.add(tarFile(), { name: 'app' })).digest).toBe(image.digest);
});

test('files without rows and rows without files are mended, and said', async () => {
  const { images, stateDir, files } = testStore();
  expect(await images.mend()).toEqual([]);
  const gone = await images.add(tarFile(), { name: 'gone' });
  const damaged = await images.add(tarFile(makeTar([{ name: 'b' }])), { name: 'damaged' });
  const whole = await images.add(tarFile(makeTar([{ name: 'c' }])), { name: 'whole' });
  rmSync(gone.rootfsPath);
  truncateSync(damaged.rootfsPath, 100);
  writeFileSync(join(stateDir.imagesDir, 'stray.squashfs'), '');
  const done = await images.mend();
  expect(done.join('\n')).toMatch(/gone.*is gone/);
  expect(done.join('\n')).toMatch(/damaged.*is damaged/);
  expect(done.join('\n')).toContain('stray.squashfs');
  expect(done).toHaveLength(4); // The damaged image's row, and then its file.
  expect((await images.list()).map(({ digest }) => digest)).toEqual([whole.digest]);
  expect(files()).toHaveLength(1);
  expect(await images.mend()).toEqual([]);
});

test('images are there again after the store is opened again', async () => {
  const root = join(testFolder(), 'state');
  const first = testStore(root);
  const image = await first.images.add(tarFile(), { name: 'app' });
  first.close();
  expect(await testStore(root).images.resolve('app')).toEqual(image);
});

const badNames = [
  '',
  'Has Space',
  '-dash',
  'a/../b',
  'builtin',
  'sha256:0123456789abcdef',
  'deadbeef',
  'a'.repeat(600),
  'a\nb',
];

test.each(badNames)('an image cannot be named %j', async (name) => {
  const { images, files } = testStore();
  const call = images.add(tarFile(), { name });
  await expect(call).rejects.toMatchObject({ code: 'InvalidInput', details: { field: 'name' } });
  expect(files()).toEqual([]);
});

const badSources: [what: string, source: (dir: string) => ImageSource, field: string][] = [
  ['a reference that is an option', () => ({ kind: 'registry', reference: '--help' }), 'reference'],
  ['an empty reference', () => ({ kind: 'registry', reference: '' }), 'reference'],
  ['a reference with a scheme', () => ({ kind: 'registry', reference: 'https://a/b' }), 'reference'],
  ['a tar that is not there', (dir) => ({ kind: 'tar', path: join(dir, 'none') }), 'path'],
  ['a tar that is a directory', (dir) => ({ kind: 'tar', path: dir }), 'path'],
  ['a directory that is a file', () => ({ kind: 'directory', path: tarFile().path }), 'path'],
  ['a layout that is a file', () => ({ kind: 'oci-layout', path: tarFile().path }), 'path'],
];

test.each(badSources)('%s is invalid input', async (_what, source, field) => {
  const { images, files } = testStore();
  await expect(images.add(source(testFolder()))).rejects.toMatchObject({
    code: 'InvalidInput',
    details: { field },
  });
  expect(files()).toEqual([]);
});

describe('a squashfs that was made elsewhere', () => {
  const ready = { digest: `sha256:${'12'.repeat(32)}`, config: { env: {} }, source: 'elsewhere' };

  function staged({ stateDir }: TestStore): string {
    const path = join(stateDir.tmpDir, 'staged');
    writeFileSync(path, 'a squashfs');
    return path;
  }

  test('is listed once it is recorded', async () => {
    const store = testStore();
    const placed = await store.images.place(ready, staged(store));
    expect(await store.images.find(ready.digest)).toBeUndefined();
    placed.record();
    await placed.discard(); // Too late.
    const image = await store.images.resolve(ready.digest);
    expect(image).toMatchObject({ ...ready, references: [], sizeBytes: 10 });
    expect(readFileSync(image.rootfsPath, 'utf8')).toBe('a squashfs');
    expect(await store.images.mend()).toEqual([]);
    expect(readdirSync(store.stateDir.tmpDir)).toEqual([]);
  });

  test('leaves nothing when it is discarded, or its process ends before it is recorded', async () => {
    const store = testStore();
    await (await store.images.place(ready, staged(store))).discard();
    expect(store.files()).toEqual([]);
    await store.images.place(ready, staged(store));
    expect(await store.images.mend()).toEqual([expect.stringContaining('belongs to no image')]);
    expect(store.files()).toEqual([]);
  });

  test('changes nothing when the image is here already', async () => {
    const store = testStore();
    (await store.images.place(ready, staged(store))).record();
    const again = await store.images.place({ ...ready, source: 'again' }, staged(store));
    again.record();
    await again.discard();
    expect(await store.images.list()).toMatchObject([{ source: 'elsewhere' }]);
    expect(await store.images.mend()).toEqual([]);
    expect(readdirSync(store.stateDir.tmpDir)).toEqual([]);
  });
});
