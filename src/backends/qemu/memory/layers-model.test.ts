import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../../host/index.ts';
import {
  differingFrom,
  MemoryImages,
  mergeLayers,
  openLayers,
  type PageRun,
  type PageRuns,
  pageBytes,
  pagesOfFile,
  writeMemoryLayer,
} from './index.ts';

/** Against a plain model: RAM is a buffer, a layer is a list of writes to it. */
const ramPages = 24;
const ramBytes = ramPages * pageBytes;

let dir: string;
let made = 0;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'layers-'));
});
afterEach(() => rm(dir, { recursive: true }));

/** Per page: not in the layer, or filled with this byte. Neighbours with one byte may come as one run, or as zero without data. */
type ModelLayer = { fills: (number | undefined)[]; zeroRuns: boolean };
const page = fc.option(fc.oneof(fc.constant(0), fc.constant(1), fc.integer({ min: 1, max: 255 })), {
  nil: undefined,
});
const modelLayer: fc.Arbitrary<ModelLayer> = fc.record({
  fills: fc.array(page, { minLength: ramPages, maxLength: ramPages }),
  zeroRuns: fc.boolean(),
});
const stack = fc.array(modelLayer, { minLength: 1, maxLength: 6 });

function* runsOf({ fills, zeroRuns }: ModelLayer): Generator<PageRun> {
  for (let first = 0; first < ramPages; ) {
    let end = first;
    const held: number[] = [];
    for (let fill = fills[end]; fill !== undefined; fill = fills[++end]) held.push(fill);
    const data = Buffer.concat(held.map((fill) => Buffer.alloc(pageBytes, fill)));
    const zero = zeroRuns && held.every((fill) => fill === 0);
    if (held.length > 0) yield { firstPage: first, count: held.length, data: zero ? 'zero' : data };
    first = Math.max(end, first + 1);
  }
}

function apply(ram: Buffer, layers: readonly ModelLayer[]): Buffer {
  for (const { fills } of layers)
    for (const [index, fill] of fills.entries())
      if (fill !== undefined) ram.fill(fill, index * pageBytes, (index + 1) * pageBytes);
  return ram;
}

async function writeStack(layers: readonly ModelLayer[]) {
  const written = [];
  for (const layer of layers) {
    const path = join(dir, `${made++}.pages`);
    written.push({ path, ...(await writeMemoryLayer(path, { ramBytes, pages: runsOf(layer) })) });
  }
  return written;
}

async function applyRuns(ram: Buffer, runs: PageRuns): Promise<{ ram: Buffer; pages: number[] }> {
  const pages: number[] = [];
  for await (const { firstPage, count, data } of runs) {
    if (data === 'zero') ram.fill(0, firstPage * pageBytes, (firstPage + count) * pageBytes);
    else data.copy(ram, firstPage * pageBytes);
    for (let offset = 0; offset < count; offset++) pages.push(firstPage + offset);
  }
  return { ram, pages };
}

test('a layer gives back what was written, and its digest is that of its file', () =>
  fc.assert(
    fc.asyncProperty(modelLayer, async (model) => {
      const [written] = await writeStack([model]);
      if (!written) return;
      const bytes = await readFile(written.path);
      expect(written.sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
      expect(written.sizeBytes).toBe(bytes.length);
      await using opened = await openLayers([written.path], ramBytes);
      const [layer] = opened.layers;
      if (!layer) return;
      const marked = Buffer.alloc(ramBytes, 0xee);
      const expected = apply(Buffer.from(marked), [model]);
      expect((await applyRuns(Buffer.from(marked), layer.pages())).ram.equals(expected)).toBe(true);
      for (const run of layer.runs) {
        const at = run.firstPage * pageBytes;
        const data = await layer.readRun(run);
        expect(data.equals(expected.subarray(at, at + run.count * pageBytes))).toBe(true);
        expect(run.kind).toBe(data.every((byte) => byte === 0) ? 'zero' : 'data');
      }
    }),
  ));

test('an image shows what its stack of layers does, and so do its layers merged in any two parts', () =>
  fc.assert(
    fc.asyncProperty(stack, fc.nat(), async (models, cut) => {
      const images = new MemoryImages({ dir: join(dir, 'images'), tmpDir: dir, clock: systemClock });
      const expected = apply(Buffer.alloc(ramBytes), models);
      const layers = await writeStack(models);
      using image = await images.get({ layers, ramBytes });
      expect((await readFile(image.path)).equals(expected)).toBe(true);

      await using opened = await openLayers(
        layers.map(({ path }) => path),
        ramBytes,
      );
      const at = cut % models.length;
      const merged = [];
      for (const [first, ...rest] of [opened.layers.slice(0, at), opened.layers.slice(at)]) {
        if (!first) continue;
        const path = join(dir, `${made++}.pages`);
        merged.push({ path, ...(await mergeLayers([first, ...rest], path)) });
      }
      using flat = await images.get({ layers: merged, ramBytes });
      expect((await readFile(flat.path)).equals(expected)).toBe(true);
    }),
    { numRuns: 60 },
  ));

test('exactly the pages that differ from a stack are left, and with them the stack shows the new content', () =>
  fc.assert(
    fc.asyncProperty(stack, modelLayer, async (models, next) => {
      const below = apply(Buffer.alloc(ramBytes), models);
      const expected = apply(Buffer.from(below), [next]);
      const layers = await writeStack(models);
      await using opened = await openLayers(
        layers.map(({ path }) => path),
        ramBytes,
      );
      const found = await applyRuns(Buffer.from(below), differingFrom(runsOf(next), opened.layers));
      expect(found.ram.equals(expected)).toBe(true);
      const differing = Array.from({ length: ramPages }, (_, index) => index).filter(
        (index) =>
          below.compare(
            expected,
            index * pageBytes,
            (index + 1) * pageBytes,
            index * pageBytes,
            (index + 1) * pageBytes,
          ) !== 0,
      );
      expect(found.pages).toEqual(differing);
    }),
  ));

test('a RAM file gives its pages that are not zero', () =>
  fc.assert(
    fc.asyncProperty(modelLayer, async (model) => {
      const path = join(dir, 'ram');
      const expected = apply(Buffer.alloc(ramBytes), [model]);
      await writeFile(path, expected);
      const found = await applyRuns(Buffer.alloc(ramBytes), pagesOfFile(path, ramBytes));
      expect(found.ram.equals(expected)).toBe(true);
      const nonZero = [...model.fills.entries()].filter(([, fill]) => fill).map(([index]) => index);
      expect(found.pages).toEqual(nonZero);
    }),
  ));
