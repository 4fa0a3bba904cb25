import { existsSync } from 'node:fs';
import { link, mkdir, mkdtemp, open, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Clock, runTool, systemClock } from '../../../host/index.ts';
import { type MemoryImageRequest, MemoryImages, pageBytes, writeMemoryLayer } from './index.ts';

const ramBytes = 2048 * pageBytes;

let root: string;
let dir: string;
let tmpDir: string;
let now: number;
let images: MemoryImages;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'images-'));
  dir = join(root, 'memory');
  tmpDir = join(root, 'tmp');
  await mkdir(tmpDir);
  now = 1_000_000;
  const clock: Clock = { ...systemClock, now: () => now };
  images = new MemoryImages({ dir, tmpDir, clock });
});
afterEach(() => rm(root, { recursive: true }));

/** A stack of one layer whose pages are filled with `fill`. */
async function stackOf(fill: number, count = 100): Promise<MemoryImageRequest> {
  const path = join(root, `${fill}.pages`);
  const pages = [{ firstPage: 1000, count, data: Buffer.alloc(count * pageBytes, fill) }];
  const { sha256 } = await writeMemoryLayer(path, { ramBytes, pages });
  return { layers: [{ path, sha256 }], ramBytes };
}

async function made(request: MemoryImageRequest): Promise<{ path: string; key: string; ino: number }> {
  using image = await images.get(request);
  return { path: image.path, key: image.key, ino: (await stat(image.path)).ino };
}

describe('a memory image', () => {
  test('is as long as the RAM, takes no more disk than its pages, and is the engine’s alone', async () => {
    using image = await images.get(await stackOf(1));
    const stats = await stat(image.path);
    expect(stats.size).toBe(ramBytes);
    expect(stats.blocks * 512).toBeLessThan(150 * pageBytes);
    expect(stats.mode & 0o777).toBe(0o600);
    expect(await readdir(tmpDir)).toEqual([]);
  });

  test('is made once for calls at once and after each other, also by another life of the engine', async () => {
    const request = await stackOf(1);
    const all = await Promise.all([made(request), made(request), made(request)]);
    images = new MemoryImages({ dir, tmpDir, clock: systemClock });
    all.push(await made(request));
    expect(new Set(all.map(({ ino }) => ino)).size).toBe(1);
  });

  test('is another for other layers, another order of them, and another size of RAM', async () => {
    const [a] = (await stackOf(1)).layers;
    const [b] = (await stackOf(2)).layers;
    if (!a || !b) return;
    const stacks = [[a], [b], [a, b], [b, a], [a, b, a]];
    const keys = [];
    for (const layers of stacks) keys.push((await made({ layers, ramBytes })).key);
    expect(new Set(keys).size).toBe(stacks.length);
    await expect(images.get({ layers: [a], ramBytes: 2 * ramBytes })).rejects.toMatchObject({
      code: 'SnapshotCorrupt',
    });
  });

  test.each<[what: string, change: (path: string) => Promise<unknown>]>([
    [
      'somebody wrote to it',
      async (path) => {
        await using file = await open(path, 'r+');
        await file.write(Buffer.from('x'), 0, 1, 1000 * pageBytes);
        await file.utimes(1, 1); // At another time than it was made, however fast the test.
      },
    ],
    [
      'it was cut off',
      (path) => open(path, 'r+').then((file) => file.truncate(5).finally(() => file.close())),
    ],
    ['it is gone', (path) => rm(path)],
    ['its record is gone', (path) => rm(path.replace('.raw', '.json'))],
    ['its record is nonsense', (path) => writeFile(path.replace('.raw', '.json'), '{"bootId":')],
    [
      'the host was booted since: it may have lost what was not synced',
      async (path) => {
        const record = path.replace('.raw', '.json');
        const content = JSON.parse(await readFile(record, 'utf8'));
        await writeFile(record, JSON.stringify({ ...content, bootId: 'another boot' }));
      },
    ],
  ])('is made anew when %s, and what has the old one keeps it', async (_what, change) => {
    const request = await stackOf(1);
    const first = await made(request);
    const mapped = await open(first.path, 'r');
    await change(first.path);
    const second = await made(request);
    expect(second.ino).not.toBe(first.ino);
    const content = await readFile(second.path);
    expect(content.length).toBe(ramBytes);
    expect(content[1000 * pageBytes]).toBe(1);
    expect((await mapped.stat()).ino).toBe(first.ino);
    await mapped.close();
    expect((await made(request)).ino).toBe(second.ino);
  });

  test('that cannot be made leaves nothing, and can be later', async () => {
    const request = await stackOf(1);
    const [layer] = request.layers;
    const bytes = await readFile(layer?.path ?? '');
    await rm(layer?.path ?? '');
    await expect(images.get(request)).rejects.toMatchObject({ code: 'SnapshotCorrupt' });
    expect(await images.list()).toEqual([]);
    await writeFile(layer?.path ?? '', bytes);
    const { key } = await made(request);
    expect(await images.remove(key)).toBe(true); // The failure holds nothing.
  });

  test('that is given up leaves nothing', async () => {
    const request = await stackOf(1);
    const abort = new AbortController();
    const making = images.get(request, { signal: abort.signal });
    abort.abort();
    await expect(making).rejects.toMatchObject({ code: 'Cancelled' });
    expect(await readdir(tmpDir)).toEqual([]);
    expect(await images.remove((await made(request)).key)).toBe(true);
  });

  test('that the disk has no room for is a typed error, and nothing of it is left', async () => {
    const request = await stackOf(1, 1000);
    await runTool('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', tmpDir]);
    try {
      await expect(images.get(request)).rejects.toMatchObject({ code: 'StateUnusable' });
      expect(await readdir(tmpDir)).toEqual([]);
      expect(await images.list()).toEqual([]);
    } finally {
      await runTool('umount', [tmpDir]);
    }
  });
});

describe('images that are kept', () => {
  test('are listed with their use; a list of none is empty', async () => {
    expect(await images.list()).toEqual([]);
    const request = await stackOf(1);
    const { key, path } = await made(request);
    now = 2_000_000;
    using _image = await images.get(request);
    expect(await images.list()).toEqual([
      { key, path, diskBytes: (await stat(path)).blocks * 512, lastUsedMs: 2_000_000, held: true },
    ]);
  });

  test('are not removed while somebody uses them: here, or by a second name of the file', async () => {
    const request = await stackOf(1);
    const one = await images.get(request);
    const two = await images.get(request);
    one[Symbol.dispose]();
    one[Symbol.dispose](); // Again: counts once.
    expect(await images.remove(one.key)).toBe(false);
    await link(two.path, join(root, 'machine'));
    two[Symbol.dispose]();
    expect(await images.remove(one.key)).toBe(false);
    expect(await images.trim({ maxUnusedBytes: 0 })).toEqual([]);
    expect(existsSync(one.path)).toBe(true);
    await rm(join(root, 'machine'));
    expect(await images.remove(one.key)).toBe(true);
    expect(await readdir(dir)).toEqual([]);
    expect(await images.remove(one.key)).toBe(true);
  });

  test('are never removed by a name that is a path', async () => {
    await mkdir(dir);
    await writeFile(join(root, 'x.raw'), '');
    expect(await images.remove('../x')).toBe(true);
    expect(existsSync(join(root, 'x.raw'))).toBe(true);
  });

  test('go when they are too many, the least recently used first, those in use never', async () => {
    const keys = [];
    for (const fill of [1, 2, 3, 4]) {
      now += 1000;
      keys.push((await made(await stackOf(fill))).key);
    }
    using _inUse = await images.get({ ...(await existing(1)) });
    const [{ diskBytes } = { diskBytes: 0 }] = await images.list();
    expect(await images.trim({ maxUnusedBytes: 2 * diskBytes })).toEqual([keys[1]]);
    expect((await images.list()).map(({ key }) => key).sort()).toEqual(
      [keys[0], keys[2], keys[3]].toSorted(),
    );
  });

  test('go first when they can never be used again', async () => {
    const { key, path } = await made(await stackOf(1));
    await utimes(path, 1, 1);
    expect(await images.trim({ maxUnusedBytes: Number.MAX_SAFE_INTEGER })).toEqual([key]);
    expect(await readdir(dir)).toEqual([]);
  });
});

/** The stack that `stackOf` made before. */
async function existing(fill: number): Promise<MemoryImageRequest> {
  const path = join(root, `${fill}.pages`);
  const { createHash } = await import('node:crypto');
  return {
    layers: [
      {
        path,
        sha256: createHash('sha256')
          .update(await readFile(path))
          .digest('hex'),
      },
    ],
    ramBytes,
  };
}
