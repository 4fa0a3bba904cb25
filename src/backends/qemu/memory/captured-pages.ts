import { close, read } from 'node:fs';
import { promisify } from 'node:util';
import { AlcoveError } from '../../../errors.ts';
import { type PageRun, pageBytes } from './page-run.ts';

/** Captured pages and where they are kept. */
export type CapturedPiece = { firstPage: number; count: number; offset: number } & (
  | { kind: 'held'; slab: Buffer }
  | { kind: 'spilled' }
);

const readFile = promisify(read);
const closeFile = promisify(close);

/**
 * The pages of a machine's RAM that differed from its file at one instant. Can be iterated any number of times, not at once, until it
 * is disposed of; a run holds until the next is asked for. Disposing gives back memory and the spill.
 */
export class CapturedPages implements AsyncIterable<PageRun>, AsyncDisposable {
  readonly kind = 'captured';
  readonly pageCount: number;
  /** How much of it is on disk. */
  readonly spilledBytes: number;
  readonly #spillPath: string;
  readonly #pieces: CapturedPiece[];
  #disposed = false;
  #spill: number | undefined;

  constructor(pieces: CapturedPiece[], spill: number | undefined, spillPath: string) {
    this.#pieces = pieces;
    this.#spill = spill;
    this.#spillPath = spillPath;
    this.pageCount = pagesOf(pieces);
    this.spilledBytes = pagesOf(pieces.filter(({ kind }) => kind === 'spilled')) * pageBytes;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<PageRun> {
    let buffer = Buffer.alloc(0);
    this.#assertKept();
    for (const piece of this.#pieces) {
      const { firstPage, count, offset } = piece;
      const bytes = count * pageBytes;
      if (piece.kind === 'held') {
        yield { firstPage, count, data: piece.slab.subarray(offset, offset + bytes) };
        continue;
      }
      if (buffer.length < bytes) buffer = Buffer.allocUnsafeSlow(bytes);
      const data = buffer.subarray(0, bytes);
      await this.#readSpill(data, offset);
      yield { firstPage, count, data };
    }
  }

  async #readSpill(into: Buffer, offset: number): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const { bytesRead } = await readFile(this.#assertKept(), into, done, into.length - done, offset + done);
      if (bytesRead === 0) throw new AlcoveError('StateUnusable', `${this.#spillPath} lost what was written`);
      done += bytesRead;
    }
  }

  /** A layer without its pages must not look like one. */
  #assertKept(): number {
    if (this.#disposed)
      throw new AlcoveError('Internal', 'captured pages were asked for after they were given up');
    return this.#spill ?? -1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const spill = this.#spill;
    this.#disposed = true;
    this.#pieces.length = 0;
    this.#spill = undefined;
    if (spill !== undefined) await closeFile(spill);
  }
}

function pagesOf(pieces: readonly CapturedPiece[]): number {
  return pieces.reduce((sum, { count }) => sum + count, 0);
}
