import { restOfCharacter, wholeCharacters } from './utf8.ts';

/**
 * Keeps the first and the last bytes of an output of any length, each up to half of a cap. What it holds grows with
 * what came, up to the cap.
 */
export class HeadTail {
  readonly #headCap: number;
  readonly #tail: Ring;
  #head = Buffer.alloc(0);
  #headLength = 0;
  #totalBytes = 0;

  /** @param maxBytes of output kept; the mark comes on top */
  constructor(maxBytes: number) {
    this.#headCap = Math.ceil(maxBytes / 2);
    this.#tail = new Ring(maxBytes - this.#headCap);
  }

  /** Takes more output; keeps copies. */
  push(chunk: Uint8Array): void {
    this.#totalBytes += chunk.length;
    const first = chunk.subarray(0, this.#headCap - this.#headLength);
    if (first.length > 0) {
      this.#head = grown(this.#head, this.#headLength, this.#headLength + first.length, this.#headCap);
      this.#head.set(first, this.#headLength);
      this.#headLength += first.length;
    }
    if (first.length < chunk.length) this.#tail.push(chunk.subarray(first.length));
  }

  /** What is kept: everything, or head and tail, cut between characters of UTF-8, with a mark of the bytes left out. */
  finish(): { bytes: Buffer; droppedBytes: number } {
    const head = this.#head.subarray(0, this.#headLength);
    const tail = this.#tail.bytes();
    if (head.length + tail.length === this.#totalBytes) {
      return { bytes: Buffer.concat([head, tail]), droppedBytes: 0 };
    }
    const start = head.subarray(0, wholeCharacters(head));
    const end = tail.subarray(restOfCharacter(tail));
    const droppedBytes = this.#totalBytes - start.length - end.length;
    return { bytes: Buffer.concat([start, leftOutMark(droppedBytes), end]), droppedBytes };
  }
}

/** What stands where output was left out. */
export function leftOutMark(bytes: number): Buffer {
  return Buffer.from(`\n… ${bytes} bytes left out …\n`);
}

/** The last bytes of a stream. */
class Ring {
  readonly #cap: number;
  #bytes = Buffer.alloc(0);
  #length = 0;
  /** Where the oldest byte is, once the ring is full. */
  #start = 0;

  constructor(cap: number) {
    this.#cap = cap;
  }

  push(chunk: Uint8Array): void {
    const last = chunk.subarray(Math.max(0, chunk.length - this.#cap));
    const growth = Math.min(last.length, this.#cap - this.#length);
    this.#bytes = grown(this.#bytes, this.#length, this.#length + growth, this.#cap);
    this.#bytes.set(last.subarray(0, growth), this.#length);
    this.#length += growth;
    this.#overwrite(last.subarray(growth));
  }

  bytes(): Buffer {
    const full = this.#bytes.subarray(0, this.#length);
    return Buffer.concat([full.subarray(this.#start), full.subarray(0, this.#start)]);
  }

  #overwrite(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    const untilEnd = chunk.subarray(0, this.#cap - this.#start);
    this.#bytes.set(untilEnd, this.#start);
    this.#bytes.set(chunk.subarray(untilEnd.length), 0);
    this.#start = (this.#start + chunk.length) % this.#cap;
  }
}

/** `buffer` with room for `needed` bytes, the first `used` kept; at least doubled, up to `cap`. */
function grown(buffer: Buffer<ArrayBuffer>, used: number, needed: number, cap: number): Buffer<ArrayBuffer> {
  if (needed <= buffer.length) return buffer;
  const larger = Buffer.allocUnsafe(Math.min(cap, Math.max(needed, 2 * buffer.length, 4_096)));
  buffer.copy(larger, 0, 0, used);
  return larger;
}
