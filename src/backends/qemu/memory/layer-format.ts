import { pageBytes } from './page-run.ts';

/**
 * The file format `*.pages`, version 1: some of the pages of one machine's RAM. All numbers are little-endian.
 *
 * | where | what |
 * | --- | --- |
 * | 0 | header, 4096 bytes: magic `ALCOVMEM`, u32 version, u32 page size (4096), u64 bytes of RAM, zeros |
 * | 4096 | the data pages, in rising order of page number, without gaps |
 * | after them | table: per run u32 first page, u32 count, u32 kind (0 zero, 1 data); rising, not overlapping |
 * | last 24 bytes | trailer: u64 position of the table, u32 runs, u32 data pages, magic `ALCOVEND` |
 *
 * Runs of kind zero have no data. Data pages stand at multiples of 4096, so that they could be mapped, and in the order of the
 * table, so that a run's position follows from the runs before it and no position has to be believed. The table comes last
 * because how many runs there are is known only when all pages have been seen.
 */
export const formatVersion = 1;
export const headerBytes = pageBytes;
export const runBytes = 12;
export const trailerBytes = 24;

const headerMagic = 'ALCOVMEM';
const trailerMagic = 'ALCOVEND';
/** 1 TiB: more than a machine here may have, and small enough that no page number or table size overflows. */
const maxRamBytes = 2 ** 40;

/** A run as it lies in a layer. */
export interface LayerRun {
  readonly firstPage: number;
  readonly count: number;
  readonly kind: 'data' | 'zero';
  /** How many data pages stand before its own in the file; of a zero run, before where its own would. */
  readonly position: number;
}

export interface LayerEnd {
  tableOffset: number;
  runCount: number;
  dataPages: number;
}

/** What is wrong with a file, in words that follow its name. */
export class BadLayer extends Error {}

export function isRamSize(ramBytes: number): boolean {
  return ramBytes > 0 && ramBytes <= maxRamBytes && ramBytes % pageBytes === 0;
}

export function encodeHeader(ramBytes: number): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.write(headerMagic, 'latin1');
  header.writeUInt32LE(formatVersion, 8);
  header.writeUInt32LE(pageBytes, 12);
  header.writeBigUInt64LE(BigInt(ramBytes), 16);
  return header;
}

/** @returns bytes of RAM */
export function decodeHeader(header: Buffer): number {
  if (header.toString('latin1', 0, 8) !== headerMagic) throw new BadLayer('is not a memory layer');
  const version = header.readUInt32LE(8);
  if (version !== formatVersion) throw new BadLayer(`has format version ${version}, not ${formatVersion}`);
  const ramBytes = Number(header.readBigUInt64LE(16));
  if (header.readUInt32LE(12) !== pageBytes || !isRamSize(ramBytes) || !zeroFrom(header, 24))
    throw new BadLayer('has a header that makes no sense');
  return ramBytes;
}

/** Table and trailer of these runs. */
export function encodeEnd(runs: readonly LayerRun[], dataPages: number): Buffer {
  const end = Buffer.alloc(runs.length * runBytes + trailerBytes);
  let at = 0;
  for (const { firstPage, count, kind } of runs) {
    end.writeUInt32LE(firstPage, at);
    end.writeUInt32LE(count, at + 4);
    end.writeUInt32LE(kind === 'data' ? 1 : 0, at + 8);
    at += runBytes;
  }
  end.writeBigUInt64LE(BigInt(headerBytes + dataPages * pageBytes), at);
  end.writeUInt32LE(runs.length, at + 8);
  end.writeUInt32LE(dataPages, at + 12);
  end.write(trailerMagic, at + 16, 'latin1');
  return end;
}

/** Believes a trailer only when everything adds up to the file's size, to the byte. */
export function decodeTrailer(trailer: Buffer, sizeBytes: number): LayerEnd {
  if (trailer.toString('latin1', 16, 24) !== trailerMagic)
    throw new BadLayer('has no end: it was truncated, or is being written');
  const tableOffset = Number(trailer.readBigUInt64LE(0));
  const runCount = trailer.readUInt32LE(8);
  const dataPages = trailer.readUInt32LE(12);
  if (
    tableOffset !== headerBytes + dataPages * pageBytes ||
    sizeBytes !== tableOffset + runCount * runBytes + trailerBytes
  )
    throw new BadLayer(`has ${sizeBytes} bytes, which is not what its end says`);
  return { tableOffset, runCount, dataPages };
}

/** Reads runs piece by piece out of a table, each checked against those before it: a table of nonsense ends at its first run. */
export class TableDecoder {
  readonly runs: LayerRun[] = [];
  readonly #pages: number;
  #nextPage = 0;
  #position = 0;

  constructor(ramBytes: number) {
    this.#pages = ramBytes / pageBytes;
  }

  /** @param piece whole runs */
  push(piece: Buffer): void {
    for (let at = 0; at < piece.length; at += runBytes) {
      const firstPage = piece.readUInt32LE(at);
      const count = piece.readUInt32LE(at + 4);
      const kind = piece.readUInt32LE(at + 8);
      if (firstPage < this.#nextPage || count === 0 || firstPage + count > this.#pages || kind > 1)
        throw new BadLayer(`has a table that makes no sense at run ${this.runs.length}`);
      const position = this.#position;
      this.runs.push({ firstPage, count, kind: kind === 1 ? 'data' : 'zero', position });
      this.#nextPage = firstPage + count;
      if (kind === 1) this.#position += count;
    }
  }

  end(dataPages: number): readonly LayerRun[] {
    if (this.#position !== dataPages)
      throw new BadLayer(`has ${dataPages} data pages and a table of ${this.#position}`);
    return this.runs;
  }
}

function zeroFrom(buffer: Buffer, offset: number): boolean {
  return buffer.subarray(offset).every((byte) => byte === 0);
}
