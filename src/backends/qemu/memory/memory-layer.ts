import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { AlcoveError } from '../../../errors.ts';
import {
  BadLayer,
  decodeHeader,
  decodeTrailer,
  headerBytes,
  type LayerRun,
  runBytes,
  TableDecoder,
  trailerBytes,
} from './layer-format.ts';
import { type PageRun, pageBytes } from './page-run.ts';

/** Pieces in which tables and pages are read: 1 MiB of pages; a whole number of table entries. */
const tablePiece = 65_536 * runBytes;
const pagesPiece = 256;

/**
 * An open memory layer (`*.pages`, see `layer-format.ts`): the pages of a machine's RAM that differ from what the layers below it
 * hold. Whether its bytes are those that were made is the caller's to know (digest and seal); here the file is only checked to be
 * whole and to make sense.
 */
export class MemoryLayer implements AsyncDisposable {
  readonly path: string;
  readonly ramBytes: number;
  readonly sizeBytes: number;
  /** In rising order, not overlapping. */
  readonly runs: readonly LayerRun[];
  readonly #file: FileHandle;

  private constructor(path: string, file: FileHandle, index: LayerIndex) {
    this.path = path;
    this.#file = file;
    this.ramBytes = index.ramBytes;
    this.sizeBytes = index.sizeBytes;
    this.runs = index.runs;
  }

  /**
   * Opens a layer and reads its table. Memory grows with what the file really holds, whatever it claims.
   *
   * @throws AlcoveError `SnapshotCorrupt` (names the file), `StateUnusable`
   */
  static async open(path: string): Promise<MemoryLayer> {
    const file = await openFile(path);
    try {
      return new MemoryLayer(path, file, await readIndex(path, file));
    } catch (error) {
      await file.close();
      throw error instanceof BadLayer ? corrupt(path, error.message) : error;
    }
  }

  /** The pages of one of `runs`. @throws AlcoveError `SnapshotCorrupt` */
  async readRun(run: LayerRun): Promise<Buffer> {
    const pages = Buffer.alloc(run.count * pageBytes);
    if (run.kind === 'data') await this.readData(run.position, pages);
    return pages;
  }

  /** Fills `into` with data pages, counted as `LayerRun.position` is. @throws AlcoveError `SnapshotCorrupt` */
  async readData(position: number, into: Buffer): Promise<void> {
    await readFully(this.path, this.#file, into, headerBytes + position * pageBytes);
  }

  /** All pages, in pieces of at most 1 MiB, each of which holds until the next is asked for. */
  async *pages(): AsyncGenerator<PageRun> {
    const buffer = Buffer.allocUnsafeSlow(pagesPiece * pageBytes);
    for (const { firstPage, count, kind, position } of this.runs) {
      if (kind === 'zero') {
        yield { firstPage, count, data: 'zero' };
        continue;
      }
      for (let done = 0; done < count; done += pagesPiece) {
        const data = buffer.subarray(0, Math.min(pagesPiece, count - done) * pageBytes);
        await this.readData(position + done, data);
        yield { firstPage: firstPage + done, count: data.length / pageBytes, data };
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

/**
 * Opens a stack of layers, lowest first, all of a machine of that size; without one, of the size that the lowest has.
 *
 * @throws AlcoveError `SnapshotCorrupt` (names the file), `StateUnusable`
 */
export async function openLayers(paths: readonly string[], ramBytes?: number): Promise<OpenLayers> {
  // At once: one after the other they cost 0.15 ms each.
  const opened = await Promise.allSettled(paths.map((path) => MemoryLayer.open(path)));
  const layers = opened.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const close = async () => {
    await Promise.all(layers.map((layer) => layer[Symbol.asyncDispose]()));
  };
  try {
    for (const result of opened) if (result.status === 'rejected') throw result.reason;
    const expected = ramBytes ?? layers[0]?.ramBytes;
    for (const layer of layers)
      if (layer.ramBytes !== expected)
        throw corrupt(layer.path, `is of a machine with ${layer.ramBytes} bytes of memory, not ${expected}`);
  } catch (error) {
    await close();
    throw error;
  }
  return { layers, [Symbol.asyncDispose]: close };
}

export interface OpenLayers extends AsyncDisposable {
  readonly layers: readonly MemoryLayer[];
}

interface LayerIndex {
  ramBytes: number;
  sizeBytes: number;
  runs: readonly LayerRun[];
}

async function readIndex(path: string, file: FileHandle): Promise<LayerIndex> {
  const stats = await file.stat();
  if (!stats.isFile()) throw new BadLayer('is not a file');
  if (stats.size < headerBytes + trailerBytes) throw new BadLayer(`has only ${stats.size} bytes`);
  const header = Buffer.alloc(headerBytes);
  await readFully(path, file, header, 0);
  const ramBytes = decodeHeader(header);
  const trailer = Buffer.alloc(trailerBytes);
  await readFully(path, file, trailer, stats.size - trailerBytes);
  const { tableOffset, runCount, dataPages } = decodeTrailer(trailer, stats.size);
  const decoder = new TableDecoder(ramBytes);
  const tableBytes = runCount * runBytes;
  const buffer = Buffer.allocUnsafe(Math.min(tableBytes, tablePiece));
  for (let done = 0; done < tableBytes; done += tablePiece) {
    const piece = buffer.subarray(0, Math.min(tablePiece, tableBytes - done));
    await readFully(path, file, piece, tableOffset + done);
    decoder.push(piece);
  }
  return { ramBytes, sizeBytes: stats.size, runs: decoder.end(dataPages) };
}

/** Not through a symbolic link, and not waiting for the other end of a pipe: a snapshot that was imported may hold either. */
async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    const { code = '', message } = cause as NodeJS.ErrnoException;
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'EIO'].includes(code))
      throw corrupt(path, `cannot be read: ${code}`, cause);
    throw new AlcoveError('StateUnusable', `cannot read ${path}: ${message}`, { cause });
  }
}

async function readFully(path: string, file: FileHandle, into: Buffer, position: number): Promise<void> {
  let done = 0;
  while (done < into.length) {
    const { bytesRead } = await readOrCorrupt(path, file, into, done, position);
    if (bytesRead === 0) throw corrupt(path, 'is shorter than it was when it was opened');
    done += bytesRead;
  }
}

async function readOrCorrupt(path: string, file: FileHandle, into: Buffer, done: number, position: number) {
  try {
    return await file.read(into, done, into.length - done, position + done);
  } catch (cause) {
    throw corrupt(path, `cannot be read: ${(cause as NodeJS.ErrnoException).code}`, cause);
  }
}

function corrupt(path: string, what: string, cause?: unknown): AlcoveError<'SnapshotCorrupt'> {
  return new AlcoveError('SnapshotCorrupt', `the memory layer ${path} ${what}`, {
    details: { path },
    ...(cause === undefined ? {} : { cause }),
  });
}
