/** Reads exact numbers of bytes from a stream of chunks of any size. */
export class ByteSource {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #current: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The next `size` bytes in one piece; fewer when the stream ends before. */
  async read(size: number): Promise<Buffer> {
    if (this.#current.length >= size) return this.#take(size);
    const parts: Buffer[] = [];
    let missing = size;
    while (missing > 0 && (await this.#fill())) {
      const part = this.#take(missing);
      parts.push(part);
      missing -= part.length;
    }
    return Buffer.concat(parts);
  }

  /** The next `size` bytes in the pieces they come in; fewer when the stream ends before. */
  async *stream(size: number): AsyncGenerator<Buffer> {
    let missing = size;
    while (missing > 0 && (await this.#fill())) {
      const part = this.#take(missing);
      missing -= part.length;
      yield part;
    }
  }

  /** Passes over `size` bytes; says how many there were. */
  async skip(size: number): Promise<number> {
    let missing = size;
    while (missing > 0 && (await this.#fill())) missing -= this.#take(missing).length;
    return size - missing;
  }

  /** Gives up the stream: its source can clean up. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  #take(size: number): Buffer {
    const part = this.#current.subarray(0, size);
    this.#current = this.#current.subarray(part.length);
    return part;
  }

  async #fill(): Promise<boolean> {
    while (this.#current.length === 0) {
      const next = await this.#chunks.next();
      if (next.done) return false;
      const { value } = next;
      this.#current = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    }
    return true;
  }
}
