import type { Header } from 'tar-stream';
import { badEntry } from './tar-names.ts';

/** A file of which an archive stores only the places that are not zeros: pax GNU.sparse 1.0, as guests send it. */
export interface SparseFile {
  name: string;
  /** Of the file with its holes, in bytes. */
  size: number;
}

/** Bytes and where in the file they go. */
export interface Piece {
  at: number;
  bytes: Uint8Array;
}

const blockBytes = 512;
/** An agent writes 65,536 at most. */
const maxExtents = 1_048_576;

/**
 * Whether an entry is a sparse file.
 *
 * @throws AlcoveError `InvalidInput` when it is one of another form than 1.0, or says nonsense
 */
export function sparseFile(header: Header): SparseFile | undefined {
  const pax = (header.pax ?? {}) as Record<string, unknown>;
  if (!Object.keys(pax).some((key) => key.startsWith('GNU.sparse.'))) return undefined;
  const name = pax['GNU.sparse.name'];
  const isForm1 = pax['GNU.sparse.major'] === '1' && pax['GNU.sparse.minor'] === '0';
  if (!isForm1 || typeof name !== 'string') {
    throw badEntry(header.name, 'is a sparse file of a form that is not known');
  }
  return { name, size: wholeNumber(pax['GNU.sparse.realsize'], name) };
}

/**
 * Takes the map off the beginning of a sparse file's body, and says of all bytes after it where they go.
 *
 * @throws AlcoveError `InvalidInput` when the map is not in order, not within the file, or not of as many bytes as there are
 */
export async function* sparsePieces(
  file: SparseFile,
  body: AsyncIterable<Uint8Array>,
): AsyncGenerator<Piece, void, undefined> {
  const map = new SparseMap(file);
  let into = 0;
  let written = 0;
  for await (const chunk of body) {
    let rest = map.take(chunk);
    while (rest.length > 0) {
      const extent = map.extents[into];
      if (!extent) throw badEntry(file.name, 'has more data than its map says');
      const count = Math.min(rest.length, extent.length - written);
      if (count > 0) yield { at: extent.offset + written, bytes: rest.subarray(0, count) };
      rest = rest.subarray(count);
      written += count;
      if (written === extent.length) {
        into++;
        written = 0;
      }
    }
  }
  const missing = map.extents.slice(into).some(({ length }) => length > 0);
  if (!map.isWhole || missing) throw badEntry(file.name, 'has less data than its map says');
}

/** Reads a map: how many extents there are, then offset and length of each, a line a number; then up to a whole block. */
class SparseMap {
  readonly extents: { offset: number; length: number }[] = [];
  readonly #file: SparseFile;
  #line = '';
  #bytes = 0;
  #count: number | undefined;
  #offset: number | undefined;
  #end = 0;

  constructor(file: SparseFile) {
    this.#file = file;
  }

  get isWhole(): boolean {
    return this.extents.length === this.#count && this.#bytes % blockBytes === 0;
  }

  /** What of a chunk comes after the map. */
  take(chunk: Uint8Array): Uint8Array {
    let at = 0;
    while (at < chunk.length && !this.isWhole) {
      const byte = chunk[at++];
      this.#bytes++;
      if (this.extents.length === this.#count) continue;
      if (byte === 0x0a) this.#number();
      else if (this.#line.length < 16) this.#line += String.fromCharCode(byte ?? 0);
      else throw badEntry(this.#file.name, 'has a map that is malformed');
    }
    return chunk.subarray(at);
  }

  #number(): void {
    const value = wholeNumber(this.#line, this.#file.name);
    this.#line = '';
    if (this.#count === undefined) {
      if (value > maxExtents) throw badEntry(this.#file.name, `has more than ${maxExtents} extents`);
      this.#count = value;
    } else if (this.#offset === undefined) {
      this.#offset = value;
    } else {
      const end = this.#offset + value;
      if (this.#offset < this.#end || end > this.#file.size) {
        throw badEntry(this.#file.name, 'has a map that is out of order or leads beyond its end');
      }
      this.extents.push({ offset: this.#offset, length: value });
      this.#offset = undefined;
      this.#end = end;
    }
  }
}

function wholeNumber(text: unknown, name: string): number {
  const value = typeof text === 'string' && /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw badEntry(name, 'has a number that is none');
  return value;
}
