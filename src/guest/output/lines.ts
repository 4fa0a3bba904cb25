import { wholeCharacters } from './utf8.ts';

const newline = 0x0a;
const carriageReturn = 0x0d;

export interface LineOptions {
  /** Bytes of one line that are kept; what is over is left out, with a mark that says how much. @default 64 KiB */
  maxLineBytes?: number;
}

/**
 * Cuts bytes into lines, whatever the chunks. A line ends with LF or CR LF, which are not part of it; a CR elsewhere is.
 * Characters that arrive in pieces come out whole; invalid bytes are replaced.
 */
export class LineSplitter {
  readonly #max: number;
  /** Kept bytes of the line so far: one more than the maximum at most, for a CR that may belong to its end. */
  #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #lineBytes = 0;
  #lastByte = 0;

  constructor({ maxLineBytes = 65_536 }: LineOptions = {}) {
    this.#max = maxLineBytes;
  }

  /** The lines that end in `chunk`. */
  push(chunk: Uint8Array): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, start)) {
      this.#add(chunk.subarray(start, end));
      lines.push(this.#take());
      start = end + 1;
    }
    this.#add(chunk.subarray(start));
    return lines;
  }

  /** What is left when no more comes: a last line without an end, or nothing. */
  end(): string[] {
    return this.#lineBytes > 0 ? [this.#take()] : [];
  }

  #add(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const kept = bytes.slice(0, Math.max(0, this.#max + 1 - this.#keptBytes));
    if (kept.length > 0) this.#kept.push(kept);
    this.#keptBytes += kept.length;
    this.#lineBytes += bytes.length;
    this.#lastByte = bytes.at(-1) ?? 0;
  }

  #take(): string {
    const length = this.#lineBytes - (this.#lastByte === carriageReturn ? 1 : 0);
    const kept = Buffer.concat(this.#kept);
    this.#kept = [];
    this.#keptBytes = 0;
    this.#lineBytes = 0;
    this.#lastByte = 0;
    if (length <= this.#max) return kept.toString('utf8', 0, length);
    const whole = wholeCharacters(kept.subarray(0, this.#max));
    return `${kept.toString('utf8', 0, whole)}… ${length - whole} bytes left out …`;
  }
}

/**
 * The lines of a stream; see {@link LineSplitter}.
 *
 * @example
 * for await (const line of lines(process.stdout)) console.log(line);
 */
export async function* lines(
  stream: AsyncIterable<Uint8Array>,
  options: LineOptions = {},
): AsyncGenerator<string, void, undefined> {
  const splitter = new LineSplitter(options);
  for await (const chunk of stream) yield* splitter.push(chunk);
  yield* splitter.end();
}
