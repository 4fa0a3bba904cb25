import { ByteSource } from './byte-source.ts';
import type { PaxRecords } from './pax.ts';
import { blockSize, type SparseMap } from './tar-entry.ts';
import { invalidTar } from './tar-error.ts';
import { readTarNumber } from './tar-number.ts';

/** A file with holes: its map, its size with the holes, and the bytes of data that stand in the tar for it. */
export interface SparseFile {
  map: SparseMap;
  sizeBytes: number;
  storedBytes: number;
}

/** A map may not be longer than this; GNU tar writes one part for each run of data. */
const maxParts = 1 << 20;

/**
 * Reads the map of a sparse file in any of the four ways GNU tar has had (tar manual, "Storing Sparse Files"): old GNU
 * headers (type `S`), pax 0.0, 0.1 and 1.0. The source stands after the header and is moved to the data.
 *
 * @returns `undefined` when the file is not sparse
 */
export async function readSparse(
  header: Buffer,
  pax: PaxRecords,
  storedBytes: number,
  source: ByteSource,
): Promise<SparseFile | undefined> {
  const text = (key: string) => pax.get(key)?.toString('latin1');
  if (header[156] === 'S'.charCodeAt(0)) {
    const map = await readOldMap(header, source);
    return checked(map, readTarNumber(header.subarray(483, 495), 'sparse size'), storedBytes);
  }
  if (text('GNU.sparse.major') === '1' && text('GNU.sparse.minor') === '0') {
    const { map, mapBytes } = await readMapBeforeData(source, storedBytes);
    return checked(map, decimal(text('GNU.sparse.realsize')), storedBytes - mapBytes);
  }
  const flat = text('GNU.sparse.map');
  if (flat !== undefined) {
    return checked(pairs(numbers(flat)), decimal(text('GNU.sparse.size')), storedBytes);
  }
  if (pax.has('GNU.sparse.numblocks')) {
    const sizes = numbers(text('GNU.sparse.numbytes'));
    const map = numbers(text('GNU.sparse.offset')).map((offset, index) => ({
      offset,
      size: sizes[index] ?? 0,
    }));
    return checked(map, decimal(text('GNU.sparse.size')), storedBytes);
  }
  return undefined;
}

/** The content of a file with holes: its data, with zeros where there is none. */
export async function* withHoles(
  data: AsyncIterable<Buffer>,
  map: SparseMap,
  sizeBytes: number,
): AsyncGenerator<Buffer> {
  const source = new ByteSource(data);
  let at = 0;
  for (const { offset, size } of map) {
    yield* zeros(offset - at);
    yield* source.stream(size);
    at = offset + size;
  }
  yield* zeros(sizeBytes - at);
}

const zeroChunk = Buffer.alloc(1 << 20);

function* zeros(size: number): Generator<Buffer> {
  for (let left = size; left > 0; left -= zeroChunk.length)
    yield zeroChunk.subarray(0, Math.min(left, zeroChunk.length));
}

/** Four parts in the header at 386, then blocks of 21 while the flag behind them says so. */
async function readOldMap(header: Buffer, source: ByteSource): Promise<SparseMap> {
  const map: { offset: number; size: number }[] = [];
  const take = (block: Buffer, start: number, count: number) => {
    for (let at = start; at < start + count * 24; at += 24) {
      const size = readTarNumber(block.subarray(at + 12, at + 24), 'sparse map');
      const offset = readTarNumber(block.subarray(at, at + 12), 'sparse map');
      if (size > 0) map.push({ offset, size }); // Unused ones are zeros.
    }
  };
  take(header, 386, 4);
  let more = header[482] !== 0;
  while (more) {
    const block = await source.read(blockSize);
    if (block.length < blockSize || map.length > maxParts) throw invalidTar('malformed sparse map in a tar');
    take(block, 0, 21);
    more = block[504] !== 0;
  }
  return map;
}

/** Decimal lines at the start of the data: count, then offset and size of each part, padded to whole blocks. */
async function readMapBeforeData(
  source: ByteSource,
  storedBytes: number,
): Promise<{ map: SparseMap; mapBytes: number }> {
  let text = '';
  let mapBytes = 0;
  let wanted = 1; // lines; known once the first is read
  const lines: string[] = [];
  while (lines.length < wanted) {
    if (mapBytes + blockSize > storedBytes) throw invalidTar('malformed sparse map in a tar');
    const block = await source.read(blockSize);
    mapBytes += block.length;
    if (block.length < blockSize) throw invalidTar('the tar is cut short');
    const found = (text + block.toString('latin1')).split('\n');
    text = found.pop() ?? '';
    lines.push(...found);
    const [first] = lines;
    if (first !== undefined) {
      const count = decimal(first);
      if (count > maxParts) throw invalidTar('malformed sparse map in a tar');
      wanted = 1 + 2 * count;
    }
  }
  return { map: pairs(lines.slice(1, wanted).map(decimal)), mapBytes };
}

function pairs(flat: readonly number[]): SparseMap {
  if (flat.length % 2 !== 0) throw invalidTar('malformed sparse map in a tar');
  const map: { offset: number; size: number }[] = [];
  for (let index = 0; index < flat.length; index += 2) {
    map.push({ offset: flat[index] ?? 0, size: flat[index + 1] ?? 0 });
  }
  return map;
}

function numbers(list: string | undefined): number[] {
  return list === undefined || list === '' ? [] : list.split(',').map(decimal);
}

function decimal(text: string | undefined): number {
  const value = text !== undefined && /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw invalidTar('malformed sparse map in a tar');
  return value;
}

/** Zeros are written out for mksquashfs, about a GiB a second: holes beyond this would cost minutes and are no honest file's. */
const maxSparseBytes = 64 * 2 ** 30;

/** Parts in order, within the file, and of as many bytes together as the tar has for them. */
function checked(map: SparseMap, sizeBytes: number, storedBytes: number): SparseFile {
  if (sizeBytes > maxSparseBytes) throw invalidTar(`a sparse file of ${sizeBytes} bytes in a tar`);
  let end = 0;
  let total = 0;
  for (const { offset, size } of map) {
    if (offset < end || offset + size > sizeBytes) throw invalidTar('malformed sparse map in a tar');
    end = offset + size;
    total += size;
  }
  if (total !== storedBytes) throw invalidTar('a sparse map and its data in a tar differ in size');
  return { map: map.filter(({ size }) => size > 0), sizeBytes, storedBytes };
}
