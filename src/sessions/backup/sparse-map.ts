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
