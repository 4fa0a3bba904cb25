import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { AlcoveError } from '../../../errors.ts';
import { pageBytes } from './page-run.ts';
import type { MappedPart } from './process-mapping.ts';

/** Consecutive bytes of a process's address space, and the page of the RAM that they are. */
export interface AnonymousRun {
  firstPage: number;
  count: number;
  address: number;
}

/** Bits of an entry of `/proc/PID/pagemap` (Documentation/admin-guide/mm/pagemap.rst of Linux), in its upper half. */
const present = 1 << 31;
const swapped = 1 << 30;
const ofFile = 1 << 29;
const entryBytes = 8;

/**
 * Finds the pages of private file mappings that differ from their file: the kernel copies a page on its first write, and the copy
 * is anonymous memory, so its entry in `/proc/PID/pagemap` is present or swapped and not of a file. Dirty tracking
 * (soft-dirty) would also tell when, but few kernels are built with it. The flags are visible without privilege; page frame
 * numbers, which are not needed, are hidden.
 *
 * Reading and looking through the entries of 256 MiB takes 5 ms.
 */
export class AnonymousPages implements Disposable {
  readonly #pid: number;
  readonly #pagemap: number;
  /** For 128 MiB at a time. */
  readonly #entries = Buffer.allocUnsafeSlow(256 * 1024);

  /** Throws what `openSync` throws of `/proc/PID/pagemap`. */
  constructor(pid: number) {
    this.#pid = pid;
    this.#pagemap = openSync(`/proc/${pid}/pagemap`, 'r');
  }

  /** Those of these mapped parts now, in rising order. Synchronous: the process stands still for it. */
  find(parts: readonly MappedPart[]): AnonymousRun[] {
    const runs: AnonymousRun[] = [];
    for (const { start, length, offset } of parts) {
      const pages = length / pageBytes;
      const perRead = this.#entries.length / entryBytes;
      for (let done = 0; done < pages; done += perRead) {
        const count = Math.min(perRead, pages - done);
        this.#read(start / pageBytes + done, count);
        collect(this.#entries, count, offset / pageBytes + done, start + done * pageBytes, runs);
      }
    }
    return runs;
  }

  #read(page: number, count: number): void {
    const wanted = count * entryBytes;
    for (let done = 0; done < wanted; ) {
      const read = readSync(this.#pagemap, this.#entries, done, wanted - done, page * entryBytes + done);
      if (read === 0) throw new AlcoveError('VmFailed', `process ${this.#pid} ended while it was looked at`);
      done += read;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#pagemap);
  }
}

function collect(
  entries: Buffer,
  count: number,
  firstPage: number,
  address: number,
  runs: AnonymousRun[],
): void {
  const halves = new Uint32Array(entries.buffer, entries.byteOffset, count * 2);
  let last = runs.at(-1);
  for (let index = 0; index < count; index++) {
    const upper = halves[index * 2 + 1] ?? 0; // Little-endian, as all hosts of this are.
    if ((upper & (present | swapped)) === 0 || (upper & ofFile) !== 0) continue;
    const page = firstPage + index;
    const at = address + index * pageBytes;
    // Parts follow each other in the file: what is next to each other in memory is so in the RAM.
    if (last && last.address + last.count * pageBytes === at) last.count++;
    else {
      last = { firstPage: page, count: 1, address: at };
      runs.push(last);
    }
  }
}

let hostPageBytesOnce: number | undefined;

/** What the entries of `pagemap` are per. From the auxiliary vector (`AT_PAGESZ`, getauxval(3)), as Node does not tell. */
export function hostPageBytes(): number {
  hostPageBytesOnce ??= readPageSize();
  return hostPageBytesOnce;
}

function readPageSize(): number {
  const vector = readFileSync('/proc/self/auxv');
  for (let at = 0; at + 16 <= vector.length; at += 16)
    if (vector.readBigUInt64LE(at) === 6n) return Number(vector.readBigUInt64LE(at + 8));
  throw new AlcoveError('BackendUnavailable', 'the kernel does not say how large its pages are');
}
