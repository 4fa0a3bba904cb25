import { mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { systemClock } from '../../host/index.ts';
import { ImageAhead, imageOf } from './image-ahead.ts';
import { type MemoryImageRequest, MemoryImages, pageBytes, writeMemoryLayer } from './memory/index.ts';

let root: string;
let tmpDir: string;
let images: MemoryImages;
let ahead: ImageAhead;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'ahead-'));
  tmpDir = join(root, 'tmp');
  await mkdir(tmpDir);
  images = new MemoryImages({ dir: join(root, 'memory'), tmpDir, clock: systemClock });
  ahead = new ImageAhead(images);
});
afterEach(async () => {
  await ahead.end();
  await rm(root, { recursive: true });
});

/** Of a machine of 64 MiB, half of which holds `fill`. */
async function memory(fill: number): Promise<MemoryImageRequest> {
  const path = join(root, `${fill}.pages`);
  const count = 8192;
  const pages = [{ firstPage: 0, count, data: Buffer.alloc(count * pageBytes, fill) }];
  const digest = await writeMemoryLayer(path, { ramBytes: 2 * count * pageBytes, pages });
  return imageOf({ layers: [{ path, digest }] }, { memoryMiB: 64 });
}

const keysMade = async () => (await images.list()).map(({ key }) => key);

test('an image is made while nobody asks for it, and is the one that a start gets', async () => {
  const request = await memory(1);
  ahead.begin(request);
  const [made] = await vi.waitFor(async () => {
    const list = await images.list();
    expect(list).toMatchObject([{ held: false }]);
    return list;
  });
  const { ino } = await stat(made?.path ?? '');
  using image = await images.get(request);
  expect((await stat(image.path)).ino).toBe(ino);
});

test('a start that comes meanwhile gets it also when the VM’s own interest ends', async () => {
  const request = await memory(1);
  ahead.begin(request);
  const started = images.get(request);
  await ahead.end();
  using image = await started;
  expect(await keysMade()).toEqual([image.key]);
});

test('one that is ended at once is not made', async () => {
  ahead.begin(await memory(1));
  await ahead.end();
  expect(await keysMade()).toEqual([]);
});

test('nothing of one that is ended is under way any more', async () => {
  ahead.begin(await memory(1));
  await new Promise(setImmediate);
  await ahead.end();
  expect(await readdir(tmpDir)).toEqual([]);
});

test('a later one takes the place of one that is being made', async () => {
  const [first, second] = [await memory(1), await memory(2)];
  ahead.begin(first);
  ahead.begin(second);
  const made = await vi.waitFor(async () => {
    const keys = await keysMade();
    expect(keys).toHaveLength(1);
    return keys;
  });
  using image = await images.get(second);
  expect(made).toEqual([image.key]);
});

test('layers that cannot be read are told by the start, not before', async () => {
  const request = await memory(1);
  await rm(join(root, '1.pages'));
  ahead.begin(request);
  await ahead.end();
  await expect(images.get(request)).rejects.toMatchObject({ code: 'SnapshotCorrupt' });
});
