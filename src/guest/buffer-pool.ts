/**
 * Buffers that are used again. Thrown away, each is garbage outside the heap, of which V8 lets some 60 MiB pile up before it
 * collects them; and making them anew took half of the host's time in a stream of 500 MB into a guest.
 */
export class BufferPool {
  readonly #bytes: number;
  readonly #mostSpare: number;
  readonly #spare: Buffer[] = [];
  readonly #whole = new WeakMap<Uint8Array, Buffer>();

  /** @param bytes of the largest that is asked for @param mostSpare so many are kept while nobody has them */
  constructor(bytes: number, mostSpare: number) {
    this.#bytes = bytes;
    this.#mostSpare = mostSpare;
  }

  /** With anything in it. */
  take(bytes: number): Buffer {
    const whole = this.#spare.pop() ?? Buffer.allocUnsafeSlow(this.#bytes);
    const buffer = whole.subarray(0, bytes);
    this.#whole.set(buffer, whole);
    return buffer;
  }

  /** Takes back what {@link take} gave, once; anything else is none of its business. */
  give(buffer: Uint8Array): void {
    const whole = this.#whole.get(buffer);
    this.#whole.delete(buffer);
    if (whole && this.#spare.length < this.#mostSpare) this.#spare.push(whole);
  }
}
