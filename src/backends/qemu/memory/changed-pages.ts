import { closeSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { AlcoveError } from '../../../errors.ts';
import { storageError } from '../../../store/index.ts';
import { AnonymousPages, type AnonymousRun, hostPageBytes } from './anonymous-pages.ts';
import { CapturedPages, type CapturedPiece } from './captured-pages.ts';
import { pageBytes } from './page-run.ts';
import { findMapping, type MappedPart } from './process-mapping.ts';

export interface CaptureRequest {
  pid: number;
  /** The RAM file as the process has it mapped: privately, from its first byte to `ramBytes`. */
  ramPath: string;
  ramBytes: number;
  /** A file that does not exist: takes what is more than 64 MiB. It has no name as soon as it is there, so no crash leaves it. */
  spillPath: string;
}

/** The host does not let this process look into that one: another user's, not a descendant under Yama, … */
export interface CaptureRefused {
  kind: 'refused';
  /** For people. */
  reason: string;
}

/** Most that a capture holds in memory. */
const maxHeldBytes = 64 << 20;
/** Memory is taken in pieces of this; also what is written to the spill at once. */
const slabBytes = 4 << 20;

/**
 * Does the part of a {@link PreparedCapture.capture capture} for which the machine need not stand still: finds the mapping and opens
 * what it reads from. {@link PreparedCapture.takeMemory} does more of it.
 *
 * @throws AlcoveError `VmFailed`: the process is gone, or does not map the file
 */
export function prepareCapture(request: CaptureRequest): PreparedCapture | CaptureRefused {
  if (hostPageBytes() !== pageBytes)
    return { kind: 'refused', reason: `this host's memory pages are of ${hostPageBytes()} bytes` };
  try {
    return new PreparedCapture(request);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM') return { kind: 'refused', reason: message };
    if (code === 'ENOENT' || code === 'ESRCH')
      throw new AlcoveError('VmFailed', `process ${request.pid} cannot be looked at: ${message}`, {
        cause: error,
      });
    throw error;
  }
}

/** Captures once. Disposing closes what it reads from; what was captured is independent of it. */
export class PreparedCapture implements Disposable {
  readonly kind = 'ready';
  readonly #request: CaptureRequest;
  readonly #parts: readonly MappedPart[];
  readonly #anonymous: AnonymousPages;
  readonly #memory: number;
  readonly #slabs: Buffer[] = [];

  constructor(request: CaptureRequest) {
    const { pid, ramPath, ramBytes } = request;
    this.#request = request;
    this.#parts = findMapping(pid, ramPath, ramBytes);
    this.#memory = openSync(`/proc/${pid}/mem`, 'r');
    try {
      this.#anonymous = new AnonymousPages(pid);
    } catch (error) {
      closeSync(this.#memory);
      throw error;
    }
  }

  /** Takes as much memory as a capture now would need, at most 64 MiB; what is missing then is taken then. Once, before the machine stands still. */
  takeMemory(): void {
    const pages = this.#anonymous.find(this.#parts).reduce((sum, { count }) => sum + count, 0);
    for (let bytes = 0; bytes < Math.min(pages * pageBytes, maxHeldBytes); bytes += slabBytes)
      this.#slabs.push(touched());
  }

  /**
   * Reads the pages of a stopped machine's RAM that differ from the file it has mapped privately. Every step is synchronous, as
   * the guest stands still meanwhile: about 1 ms for each MB changed, and 5 ms for 256 MiB of RAM.
   *
   * @throws AlcoveError `VmFailed` (the process is gone), `StateUnusable` (the spill cannot be written)
   */
  capture(): CapturedPages {
    const runs = this.#anonymous.find(this.#parts);
    const sink = new CaptureSink(this.#slabs.splice(0), this.#request.spillPath);
    try {
      for (const run of runs) this.#read(run, sink);
      return sink.end();
    } catch (error) {
      sink.abandon();
      throw error;
    }
  }

  #read({ firstPage, count, address }: AnonymousRun, sink: CaptureSink): void {
    for (let done = 0; done < count; ) {
      const into = sink.room(count - done);
      this.#readFully(into, address + done * pageBytes);
      sink.took(firstPage + done, into.length / pageBytes);
      done += into.length / pageBytes;
    }
  }

  #readFully(into: Buffer, address: number): void {
    for (let done = 0; done < into.length; ) {
      let read = 0;
      let cause: unknown;
      try {
        read = readSync(this.#memory, into, done, into.length - done, address + done);
      } catch (error) {
        cause = error;
      }
      if (read === 0)
        throw new AlcoveError('VmFailed', `the memory of process ${this.#request.pid} cannot be read`, {
          cause,
        });
      done += read;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#memory);
    this.#anonymous[Symbol.dispose]();
  }
}

/** Where captured pages go: slabs of memory up to the limit, then one slab again and again, written to the spill when full. */
class CaptureSink {
  readonly #pieces: CapturedPiece[] = [];
  readonly #spillPath: string;
  readonly #free: Buffer[];
  #taken = 0;
  #slab: Buffer | undefined;
  #used = 0;
  #spill: { file: number; bytes: number } | undefined;

  constructor(slabs: Buffer[], spillPath: string) {
    this.#free = slabs;
    this.#spillPath = spillPath;
  }

  /** Room for some of `pages` pages, at least one. */
  room(pages: number): Buffer {
    if (!this.#slab || this.#used === slabBytes) this.#slab = this.#nextSlab();
    return this.#slab.subarray(this.#used, Math.min(this.#used + pages * pageBytes, slabBytes));
  }

  /** The room given last holds these pages now. */
  took(firstPage: number, count: number): void {
    if (!this.#slab) return;
    this.#pieces.push(
      this.#spill
        ? { firstPage, count, kind: 'spilled', offset: this.#spill.bytes + this.#used }
        : { firstPage, count, kind: 'held', slab: this.#slab, offset: this.#used },
    );
    this.#used += count * pageBytes;
  }

  end(): CapturedPages {
    this.#writeSpill();
    return new CapturedPages(this.#pieces, this.#spill?.file, this.#spillPath);
  }

  abandon(): void {
    if (this.#spill) closeSync(this.#spill.file);
  }

  #nextSlab(): Buffer {
    this.#writeSpill();
    this.#used = 0;
    if (this.#spill && this.#slab) return this.#slab;
    this.#taken += slabBytes;
    if (this.#taken > maxHeldBytes) this.#spill = { file: openUnnamed(this.#spillPath), bytes: 0 };
    return this.#free.shift() ?? Buffer.allocUnsafeSlow(slabBytes);
  }

  #writeSpill(): void {
    if (!this.#spill || !this.#slab) return;
    try {
      for (let done = 0; done < this.#used; )
        done += writeSync(this.#spill.file, this.#slab, done, this.#used - done, this.#spill.bytes + done);
    } catch (error) {
      throw storageError(this.#spillPath, error);
    }
    this.#spill.bytes += this.#used;
    this.#used = 0;
  }
}

function openUnnamed(path: string): number {
  try {
    const file = openSync(path, 'wx+', 0o600);
    rmSync(path);
    return file;
  } catch (cause) {
    throw new AlcoveError('StateUnusable', `cannot make ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** A slab whose every page the kernel has given already. Otherwise it would while the machine stands still, at 0.1 ms per MB or more. */
function touched(): Buffer {
  const slab = Buffer.allocUnsafeSlow(slabBytes);
  for (let offset = 0; offset < slabBytes; offset += pageBytes) slab[offset] = 0;
  return slab;
}
