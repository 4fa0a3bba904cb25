/** Puts pieces of a wanted size together from chunks of any size; copies only what is spread over several. */
export class Gathered {
  #held = Buffer.alloc(1024);
  #length = 0;

  /** How many of the `available` bytes the next piece still needs. */
  missing(size: number, available: number): number {
    return Math.min(size - this.#length, available);
  }

  /** @returns the piece once it is whole; it is the caller's until the next call */
  take(part: Buffer, size: number): Buffer | undefined {
    if (part.length === size) return part;
    this.#reserve(this.#length + part.length);
    part.copy(this.#held, this.#length);
    this.#length += part.length;
    if (this.#length < size) return undefined;
    this.#length = 0;
    return this.#held.subarray(0, size);
  }

  /** Grows with what has come, not with what a header says will come. */
  #reserve(bytes: number): void {
    if (bytes <= this.#held.length) return;
    const larger = Buffer.alloc(Math.max(bytes, this.#held.length * 2));
    this.#held.copy(larger, 0, 0, this.#length);
    this.#held = larger;
  }
}
