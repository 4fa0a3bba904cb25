import { blockSize } from '../../images/index.ts';
import { invalidBackup } from './backup-error.ts';
import type { ExtendedHeader } from './extended-header.ts';
import { SparseMap } from './sparse-map.ts';
import { number, type TarHeader } from './tar-header.ts';

/** The rest of a map, which comes in blocks behind the header. */
export interface MapBlocks {
  /** @returns whether it was the last one */
  add(block: Buffer): boolean;
  /** Bytes of data that follow the last one. */
  readonly dataBytes: number;
}

/** A file with holes: its size with them, and what of its map is still to come. */
export interface SparseFile {
  realBytes: number;
  blocks?: MapBlocks;
}

/**
 * Reads what is in the headers of a file with holes in any of the four ways GNU tar has had (tar manual, "Storing Sparse Files"): old
 * headers of type `S`, pax 0.0, 0.1 and 1.0.
 *
 * @returns `undefined` when it has none
 * @throws AlcoveError `BackupInvalid`
 */
export function readSparseFile(
  { kind, name, sizeBytes }: TarHeader,
  block: Buffer,
  extended: ExtendedHeader,
): SparseFile | undefined {
  if (kind === 'gnu sparse file') {
    if (extended.hasSparseRecords)
      throw invalidBackup('damaged', 'the tar has a file with two maps', { entry: name });
    const realBytes = number(block, 'sparse size', 483, 495, name);
    const map = new SparseMap(realBytes, name);
    map.addOld(block, 386, 4);
    if (block[482] !== 0) return { realBytes, blocks: new OldBlocks(map, sizeBytes) };
    map.end(sizeBytes);
    return { realBytes };
  }
  if (!extended.hasSparseRecords) return undefined;
  const version = `${extended.value('GNU.sparse.major') ?? 0}.${extended.value('GNU.sparse.minor') ?? 0}`;
  const realKey = version === '1.0' ? 'GNU.sparse.realsize' : 'GNU.sparse.size';
  const realBytes = new SparseMap(0, name).decimal(extended.value(realKey));
  const map = new SparseMap(realBytes, name);
  if (version === '1.0') return { realBytes, blocks: new BlocksInData(map, sizeBytes) };
  addListed(map, extended);
  map.end(sizeBytes);
  return { realBytes };
}

/** 0.1 has one list; 0.0 has a record for each number, of which reading them has made two lists. */
function addListed(map: SparseMap, extended: ExtendedHeader): void {
  const numbers = (key: string) => {
    const list = extended.value(key);
    return list === undefined ? [] : list.split(',').map((text) => map.decimal(text));
  };
  if (extended.value('GNU.sparse.map') !== undefined) {
    const pairs = numbers('GNU.sparse.map');
    if (pairs.length % 2 !== 0) throw map.malformed();
    for (let at = 0; at < pairs.length; at += 2) map.add(pairs[at] ?? -1, pairs[at + 1] ?? -1);
    return;
  }
  const offsets = numbers('GNU.sparse.offset');
  const sizes = numbers('GNU.sparse.numbytes');
  if (offsets.length !== sizes.length) throw map.malformed();
  for (const [at, offset] of offsets.entries()) map.add(offset, sizes[at] ?? -1);
}

/** Blocks of 21 parts, as long as a flag behind them says so; the header's size does not count them. */
class OldBlocks implements MapBlocks {
  readonly #map: SparseMap;
  readonly dataBytes: number;

  constructor(map: SparseMap, dataBytes: number) {
    this.#map = map;
    this.dataBytes = dataBytes;
  }

  add(block: Buffer): boolean {
    this.#map.addOld(block, 0, 21);
    if (block[504] !== 0) return false;
    this.#map.end(this.dataBytes);
    return true;
  }
}

/** Decimal lines at the start of the data: the number of parts, then offset and size of each, filled up to a whole block. */
class BlocksInData implements MapBlocks {
  readonly #map: SparseMap;
  #line = '';
  #missing: number | undefined;
  #offset: number | undefined;
  dataBytes: number;

  constructor(map: SparseMap, storedBytes: number) {
    this.#map = map;
    this.dataBytes = storedBytes;
    this.#fits();
  }

  add(block: Buffer): boolean {
    this.dataBytes -= blockSize;
    const lines = (this.#line + block.toString('latin1')).split('\n');
    this.#line = lines.pop() ?? '';
    for (const line of lines) {
      if (this.#missing === 0) break;
      this.#take(this.#map.decimal(line));
    }
    if (this.#missing === 0) {
      this.#map.end(this.dataBytes);
      return true;
    }
    this.#fits();
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

  /** That one more block of the map can come; and a number has at most 16 digits, so the line does not grow. */
  #fits(): void {
    if (this.dataBytes < blockSize || this.#line.length > 16) throw this.#map.malformed();
  }
}
