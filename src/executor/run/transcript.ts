import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { AlcoveError } from '../../errors.ts';
import { restOfCharacter, wholeCharacters } from '../../guest/index.ts';

export type Stream = 'stdout' | 'stderr';

/** A piece of output, as it came. */
export interface Piece {
  stream: Stream;
  bytes: Uint8Array;
}

/** Output that was kept: its beginning and its end in the order of arrival, and how much is missing between. */
export interface Retained {
  head: readonly Piece[];
  tail: readonly Piece[];
  dropped: Readonly<Record<Stream, number>>;
}

/** What a piece costs beside its bytes, so that a million of one byte are bounded, too. */
const pieceCost = 64;
/** Pieces of one stream that follow each other are joined up to this size. */
const joinBytes = 65_536;

/** Keeps the first and the last part of both streams of a command, each up to half of a cap, in the order in which they came. */
export class Transcript {
  readonly #headCap: number;
  readonly #tailCap: number;
  readonly #head: Growing[] = [];
  #headCost = 0;
  #headFull = false;
  #tail: Growing[] = [];
  /** Index of the first of `#tail` that is still kept. */
  #tailStart = 0;
  #tailCost = 0;
  readonly #dropped = { stdout: 0, stderr: 0 };

  constructor(maxBytes: number) {
    this.#headCap = Math.ceil(maxBytes / 2);
    this.#tailCap = maxBytes - this.#headCap;
  }

  push(stream: Stream, bytes: Uint8Array): void {
    const rest = this.#headFull ? bytes : this.#pushHead(stream, bytes);
    if (rest.length > 0) this.#pushTail(stream, rest);
  }

  retained(): Retained {
    const dropped = { ...this.#dropped };
    const head = this.#head.map((piece) => piece.finish());
    const tail = this.#tail.slice(this.#tailStart).map((piece) => piece.finish());
    for (const stream of ['stdout', 'stderr'] as const) {
      if (dropped[stream] === 0) continue;
      dropped[stream] += cut(
        head.findLast((piece) => piece.stream === stream),
        (bytes) => bytes.subarray(0, wholeCharacters(bytes)),
      );
      dropped[stream] += cut(
        tail.find((piece) => piece.stream === stream),
        (bytes) => bytes.subarray(restOfCharacter(bytes)),
      );
    }
    return { head, tail, dropped };
  }

  /** Returns what did not fit. */
  #pushHead(stream: Stream, bytes: Uint8Array): Uint8Array {
    const joined = join(this.#head, stream);
    const room = this.#headCap - this.#headCost - (joined ? 0 : pieceCost);
    const fits = bytes.subarray(0, Math.max(0, room));
    if (fits.length > 0) {
      if (joined) joined.append(fits);
      else this.#head.push(new Growing(stream, fits));
      this.#headCost += fits.length + (joined ? 0 : pieceCost);
    }
    this.#headFull = fits.length < bytes.length;
    return bytes.subarray(fits.length);
  }

  #pushTail(stream: Stream, bytes: Uint8Array): void {
    const last = bytes.subarray(Math.max(0, bytes.length - this.#tailCap));
    this.#dropped[stream] += bytes.length - last.length;
    const joined = this.#tail.length > this.#tailStart ? join(this.#tail, stream) : undefined;
    if (joined) joined.append(last);
    else if (last.length > 0) this.#tail.push(new Growing(stream, last));
    this.#tailCost += last.length + (joined || last.length === 0 ? 0 : pieceCost);
    while (this.#tailCost > this.#tailCap) this.#dropFirst();
  }

  #dropFirst(): void {
    const first = this.#tail[this.#tailStart];
    if (!first) return;
    const over = this.#tailCost - this.#tailCap;
    if (first.length > over) {
      first.dropFirst(over);
      this.#tailCost -= over;
      this.#dropped[first.stream] += over;
      return;
    }
    this.#tailCost -= first.length + pieceCost;
    this.#dropped[first.stream] += first.length;
    this.#tailStart++;
    if (this.#tailStart < 1024) return;
    this.#tail = this.#tail.slice(this.#tailStart);
    this.#tailStart = 0;
  }
}

/** A piece that more is appended to. */
class Growing {
  readonly stream: Stream;
  #buffer: Uint8Array;
  #start = 0;
  #end: number;

  constructor(stream: Stream, bytes: Uint8Array) {
    this.stream = stream;
    this.#buffer = Uint8Array.from(bytes);
    this.#end = bytes.length;
  }

  get length(): number {
    return this.#end - this.#start;
  }

  append(bytes: Uint8Array): void {
    if (this.#end + bytes.length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(2 * this.length, this.length + bytes.length));
      larger.set(this.#buffer.subarray(this.#start, this.#end));
      this.#buffer = larger;
      this.#end = this.length;
      this.#start = 0;
    }
    this.#buffer.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  dropFirst(count: number): void {
    this.#start += count;
  }

  finish(): Piece {
    return { stream: this.stream, bytes: this.#buffer.slice(this.#start, this.#end) };
  }
}

function join(pieces: readonly Growing[], stream: Stream): Growing | undefined {
  const last = pieces.at(-1);
  return last?.stream === stream && last.length < joinBytes ? last : undefined;
}

/** Shortens a piece; returns by how much. */
function cut(piece: Piece | undefined, shorten: (bytes: Uint8Array) => Uint8Array): number {
  if (!piece) return 0;
  const before = piece.bytes.length;
  piece.bytes = shorten(piece.bytes);
  return before - piece.bytes.length;
}

/** All of it in order, with a line in place of what was left out of a stream. */
export function piecesOf({ head, tail, dropped }: Retained): Piece[] {
  const marks = (['stdout', 'stderr'] as const)
    .filter((stream) => dropped[stream] > 0)
    .map((stream) => ({ stream, bytes: Buffer.from(`\n… ${dropped[stream]} bytes left out …\n`) }));
  return [...head, ...marks, ...tail];
}

/** UTF-8; invalid bytes are replaced. */
export function textOf(retained: Retained, stream: Stream): string {
  const pieces = piecesOf(retained).filter((piece) => piece.stream === stream);
  return Buffer.concat(pieces.map(({ bytes }) => bytes)).toString();
}

/**
 * How the rest is encoded, then the missing bytes of each stream, then pieces: where, which stream, length, bytes. Numbers are
 * little-endian; more than a little is zstd.
 */
export function encodeRetained({ head, tail, dropped }: Retained): Uint8Array {
  const counts = Buffer.alloc(16);
  counts.writeBigUInt64LE(BigInt(dropped.stdout), 0);
  counts.writeBigUInt64LE(BigInt(dropped.stderr), 8);
  const body = [
    counts,
    ...head.flatMap((piece) => encodePiece(piece, 0)),
    ...tail.flatMap((piece) => encodePiece(piece, 2)),
  ];
  const whole = Buffer.concat(body);
  return whole.length < worthCompressingBytes
    ? Buffer.concat([Buffer.of(plain), whole])
    : Buffer.concat([Buffer.of(compressed), zstdCompressSync(whole)]);
}

/** The first byte: how the rest is encoded. */
const compressed = 1;
const plain = 2;
/** Setting zstd up takes 0.15 ms, as long as all the rest of a hit. */
const worthCompressingBytes = 16_384;

function encodePiece({ stream, bytes }: Piece, place: 0 | 2): Uint8Array[] {
  const header = Buffer.alloc(5);
  header.writeUInt8(place + (stream === 'stderr' ? 1 : 0), 0);
  header.writeUInt32LE(bytes.length, 1);
  return [header, bytes];
}

/** @throws AlcoveError `StateCorrupt` for what {@link encodeRetained} did not make */
export function decodeRetained(encoded: Uint8Array): Retained {
  try {
    const body = decompressed(encoded);
    const dropped = {
      stdout: Number(body.readBigUInt64LE(0)),
      stderr: Number(body.readBigUInt64LE(8)),
    };
    const head: Piece[] = [];
    const tail: Piece[] = [];
    for (let at = 16; at < body.length; ) {
      const kind = body.readUInt8(at);
      const end = at + 5 + body.readUInt32LE(at + 1);
      if (end > body.length || kind > 3) throw new Error('cut short');
      const piece = {
        stream: kind % 2 === 0 ? 'stdout' : 'stderr',
        bytes: body.subarray(at + 5, end),
      } as const;
      (kind < 2 ? head : tail).push(piece);
      at = end;
    }
    return { head, tail, dropped };
  } catch (error) {
    throw new AlcoveError('StateCorrupt', `stored output cannot be read: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function decompressed(encoded: Uint8Array): Buffer {
  const rest = encoded.subarray(1);
  if (encoded[0] === plain) return Buffer.from(rest);
  if (encoded[0] === compressed) return zstdDecompressSync(rest, { maxOutputLength: maxDecodedBytes });
  throw new Error(`format ${encoded[0]}`);
}

/** More than anybody may ask to keep. */
export const maxRetainedBytes = 256 * 2 ** 20;
const maxDecodedBytes = 2 * maxRetainedBytes;
