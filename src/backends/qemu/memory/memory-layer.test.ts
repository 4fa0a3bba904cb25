import {
  chmod,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runTool } from '../../../host/index.ts';
import { MemoryLayer, openLayers, type PageRun, pageBytes, writeMemoryLayer } from './index.ts';
import { headerBytes, runBytes, trailerBytes } from './layer-format.ts';

const ramBytes = 64 * pageBytes;

let dir: string;
let path: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'layer-'));
  path = join(dir, '0.pages');
});
afterEach(() => rm(dir, { recursive: true }));

const filled = (firstPage: number, count: number, fill: number): PageRun => ({
  firstPage,
  count,
  data: Buffer.alloc(count * pageBytes, fill),
});

describe('a layer that was written', () => {
  test('has neighbouring runs as one, zero pages without data, and its data at whole pages', async () => {
    const pages = [filled(3, 2, 1), filled(5, 1, 2), filled(6, 2, 0), filled(8, 1, 3), filled(20, 1, 4)];
    const { sizeBytes } = await writeMemoryLayer(path, { ramBytes, pages });
    await using layer = await MemoryLayer.open(path);
    expect(layer.ramBytes).toBe(ramBytes);
    expect(layer.runs).toEqual([
      { firstPage: 3, count: 3, kind: 'data', position: 0 },
      { firstPage: 6, count: 2, kind: 'zero', position: 3 },
      { firstPage: 8, count: 1, kind: 'data', position: 3 },
      { firstPage: 20, count: 1, kind: 'data', position: 4 },
    ]);
    expect(sizeBytes).toBe(headerBytes + 5 * pageBytes + 4 * runBytes + trailerBytes);
    expect((await readFile(path))[headerBytes + 2 * pageBytes]).toBe(2);
    expect((await stat(path)).mode & 0o777).toBe(0o400);
  });

  test('may hold no page', async () => {
    await writeMemoryLayer(path, { ramBytes, pages: [] });
    await using layer = await MemoryLayer.open(path);
    expect(layer.runs).toEqual([]);
  });
});

describe('writing a layer', () => {
  const failing = async function* (): AsyncGenerator<PageRun> {
    yield filled(0, 1, 1);
    throw new Error('the source broke');
  };
  test.each<[what: string, pages: Iterable<PageRun> | AsyncIterable<PageRun>, error: string | RegExp]>([
    ['pages that are not in order', [filled(5, 2, 1), filled(6, 1, 1)], 'pages 6+1 come after page 6'],
    ['pages beyond the RAM', [filled(63, 2, 1)], 'pages 63+2 come after page -1'],
    ['data of another length', [{ ...filled(0, 2, 1), count: 3 }], '3 pages have 8192 bytes'],
    ['a source that breaks', failing(), 'the source broke'],
  ])('leaves nothing when it is given %s', async (_what, pages, message) => {
    await expect(writeMemoryLayer(path, { ramBytes, pages })).rejects.toThrow(message);
    expect(await readdir(dir)).toEqual([]);
  });

  test('leaves nothing when it is cancelled', async () => {
    const signal = AbortSignal.abort();
    const pages = [filled(0, 1, 1)];
    await expect(writeMemoryLayer(path, { ramBytes, pages, signal })).rejects.toMatchObject({
      code: 'Cancelled',
    });
    expect(await readdir(dir)).toEqual([]);
  });

  test('does not touch a file that is there', async () => {
    await writeFile(path, 'here before');
    await expect(writeMemoryLayer(path, { ramBytes, pages: [] })).rejects.toThrow('EEXIST');
    expect(await readFile(path, 'utf8')).toBe('here before');
  });

  test('is a typed error, and leaves nothing, when the disk is full', async () => {
    await runTool('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', dir]);
    try {
      const pages = [filled(0, 512, 1)];
      await expect(writeMemoryLayer(path, { ramBytes: 512 * pageBytes, pages })).rejects.toMatchObject({
        code: 'StateUnusable',
      });
      expect(await readdir(dir)).toEqual([]);
    } finally {
      await runTool('umount', [dir]);
    }
  });
});

describe('a file that is no whole layer is refused by name', () => {
  const refused = expect.objectContaining({
    code: 'SnapshotCorrupt',
    message: expect.stringContaining('0.pages'),
  });
  const open_ = async () => {
    await using _layer = await MemoryLayer.open(path);
  };

  /** A good layer of three runs and four data pages, with one part written over. */
  async function damaged(offset: number, bytes: Buffer): Promise<void> {
    const pages = [filled(3, 3, 1), filled(6, 2, 0), filled(8, 1, 3)];
    const { sizeBytes } = await writeMemoryLayer(path, { ramBytes, pages });
    await chmod(path, 0o600); // For tests that are not run as root.
    await using file = await open(path, 'r+');
    await file.write(bytes, 0, bytes.length, offset < 0 ? sizeBytes + offset : offset);
  }
  const u32 = (...values: number[]) => Buffer.from(new Uint32Array(values).buffer);
  const table = headerBytes + 4 * pageBytes;

  test.each<[what: string, offset: number, bytes: Buffer]>([
    ['another magic', 0, Buffer.from('X')],
    ['another version', 8, u32(2)],
    ['another page size', 12, u32(16384)],
    ['no RAM', 16, u32(0, 0)],
    ['RAM that is not whole pages', 16, u32(4097, 0)],
    ['more RAM than there is', 16, u32(0, 0xffffffff)],
    ['something in the rest of its header', 4000, u32(1)],
    ['another end', -1, Buffer.from('X')],
    ['its table elsewhere', -trailerBytes, u32(table - pageBytes, 0)],
    ['its table far outside', -trailerBytes, u32(0, 0xffffffff)],
    ['its table shifted, and all else to match', -trailerBytes, u32(table + runBytes, 0, 2, 1)],
    ['more runs than fit', -16, u32(0xffffffff)],
    ['fewer runs than there are', -16, u32(2)],
    ['more data pages than there are', -12, u32(5)],
    ['an empty run', table + 4, u32(0)],
    ['a run of no kind', table + runBytes + 8, u32(2)],
    ['runs that overlap', table + runBytes, u32(5)],
    ['runs that are not in order', table + runBytes, u32(0)],
    ['a run beyond the RAM', table + 2 * runBytes, u32(64)],
    ['a run whose end is beyond all numbers', table + 2 * runBytes, u32(63, 0xffffffff)],
    ['a zero run as data', table + runBytes + 8, u32(1)],
    ['a data run as zero', table + 8, u32(0)],
  ])('%s', async (_what, offset, bytes) => {
    await damaged(offset, bytes);
    await expect(open_()).rejects.toEqual(refused);
  });

  test('cut off anywhere', () =>
    fc.assert(
      fc.asyncProperty(fc.nat(table + 3 * runBytes + trailerBytes - 1), async (length) => {
        await rm(path, { force: true });
        await damaged(0, Buffer.alloc(0));
        await truncate(path, length);
        await expect(open_()).rejects.toEqual(refused);
      }),
      { numRuns: 50 },
    ));

  test('a huge hole that claims a huge table', async () => {
    const dataPages = 1;
    const runCount = 0xffff_ffff;
    const header = Buffer.alloc(headerBytes);
    await damaged(0, Buffer.alloc(0));
    (await readFile(path)).copy(header);
    header.writeBigUInt64LE(2n ** 40n, 16);
    const trailer = Buffer.alloc(trailerBytes);
    trailer.writeBigUInt64LE(BigInt(headerBytes + dataPages * pageBytes));
    trailer.writeUInt32LE(runCount, 8);
    trailer.writeUInt32LE(dataPages, 12);
    trailer.write('ALCOVEND', 16);
    await rm(path, { force: true });
    {
      await using file = await open(path, 'wx');
      await file.write(header, 0, headerBytes, 0);
      await file.write(trailer, 0, trailerBytes, headerBytes + dataPages * pageBytes + runCount * runBytes);
    }
    await expect(open_()).rejects.toEqual(refused);
  });

  test.each<[what: string, said: string, make: () => Promise<unknown>]>([
    ['no file', 'ENOENT', async () => {}],
    ['an empty file', 'has only 0 bytes', () => writeFile(path, '')],
    ['a directory', 'is not a file', () => runTool('mkdir', [path])],
    ['a pipe that nobody writes to', 'is not a file', () => runTool('mkfifo', [path])],
    [
      'a link to a good one',
      'ELOOP',
      async () => {
        await writeMemoryLayer(join(dir, 'good'), { ramBytes, pages: [] });
        await symlink('good', path);
      },
    ],
  ])('%s', async (_what, said, make) => {
    await make();
    await expect(open_()).rejects.toEqual(refused);
    await expect(open_()).rejects.toThrow(said);
  });

  test('one that gets shorter while it is open', async () => {
    await damaged(0, Buffer.alloc(0));
    await using layer = await MemoryLayer.open(path);
    await truncate(path, headerBytes + pageBytes);
    const [run] = layer.runs;
    if (run) await expect(layer.readRun(run)).rejects.toEqual(refused);
  });

  test('one of another machine size than the rest of its stack, and none stays open', async () => {
    const other = join(dir, 'other');
    await writeMemoryLayer(other, { ramBytes, pages: [] });
    await writeMemoryLayer(path, { ramBytes: 2 * ramBytes, pages: [] });
    const files = async () => (await readdir('/proc/self/fd')).length;
    const before = await files();
    await expect(openLayers([other, path])).rejects.toEqual(refused);
    await expect(openLayers([path], ramBytes)).rejects.toEqual(refused);
    await expect(openLayers([other, join(dir, 'absent')])).rejects.toMatchObject({ code: 'SnapshotCorrupt' });
    expect(await files()).toBe(before);
  });
});
