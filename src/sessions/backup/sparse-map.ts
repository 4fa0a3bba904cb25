import { blockSize } from '../../images/index.ts';
import { invalidBackup } from './backup-error.ts';
import { number } from './tar-header.ts';

/**
 * Checks the map of a file with holes as it comes by, without keeping it: parts in order, within the file, and as many bytes
 * together as stand in the tar for them.
 */
export class SparseMap {
  readonly #realBytes: number;
  readonly #entry: string;
  #endsAt = 0;
  #dataBytes = 0;

  constructor(realBytes: number, entry: string) {
    this.#realBytes = realBytes;
    this.#entry = entry;
  }

  add(offset: number, size: number): void {
    if (!(offset >= this.#endsAt && size >= 0 && offset + size <= this.#realBytes)) throw this.malformed();
    this.#endsAt = offset + size;
    this.#dataBytes += size;
  }

  /** Takes what a block of the old GNU format has at `from`: offset and size, 12 bytes each; unused ones are zeros. */
  addOld(block: Buffer, from: number, count: number): void {
    for (let at = from; at < from + count * 24; at += 24) {
      if (block[at] === 0) continue;
      this.add(
        number(block, 'sparse map', at, at + 12, this.#entry),
        number(block, 'sparse map', at + 12, at + 24, this.#entry),
      );
    }
  }

  /** Takes the parts of `offset,size,offset,size`. */
  addList(list: string): void {
    const numbers = list === '' ? [] : list.split(',').map((text) => this.decimal(text));
    if (numbers.length % 2 !== 0) throw this.malformed();
    for (let at = 0; at < numbers.length; at += 2) this.add(numbers[at] as number, numbers[at + 1] as number);
  }

  /** @param storedBytes that the tar has for the file's data */
  end(storedBytes: number): void {
    if (this.#dataBytes !== storedBytes) throw this.malformed();
  }

  decimal(text: string | undefined): number {
    const value = text !== undefined && /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value)) throw this.malformed();
    return value;
  }

  malformed() {
    return invalidBackup('damaged', 'the tar has a malformed map of a sparse file', { entry: this.#entry });
  }
}

/** Reads the map that pax 1.0 has before a file's data, in whole blocks: decimal lines; their number of pairs, and then the pairs. */
export class MapInData {
  readonly #map: SparseMap;
  #line = '';
  #missing: number | undefined;
  #offset: number | undefined;
  mapBytes = 0;

  constructor(map: SparseMap) {
    this.#map = map;
  }

  /** @returns whether it was the last block of the map */
  add(block: Buffer): boolean {
    this.mapBytes += blockSize;
    const lines = (this.#line + block.toString('latin1')).split('\n');
    this.#line = lines.pop() ?? '';
    for (const line of lines) {
      if (this.#missing === 0) break;
      this.#take(this.#map.decimal(line));
    }
    if (this.#missing === 0) return true; // The rest of the block is filled up.
    if (this.#line.length > 16) throw this.#map.malformed();
    return false;
  }

  #take(value: number): void {
    if (this.#missing === undefined) {
      this.#missing = value;
    } else if (this.#offset === undefined) {
      this.#offset = value;
    } else {
      this.#map.add(this.#offset, value);
      this.#offset = undefined;
      this.#missing--;
    }
  }
}
