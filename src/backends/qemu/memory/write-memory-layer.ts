import { createHash } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { AlcoveError, cancelled } from '../../../errors.ts';
import { type FileDigest, storageError } from '../../../store/index.ts';
import { encodeEnd, encodeHeader, isRamSize, type LayerRun } from './layer-format.ts';
import { isZero, type PageRun, type PageRuns, pageBytes } from './page-run.ts';

/** What is gathered before it is written and digested: large enough that system calls cost nothing, small enough that the event loop does not wait (0.6 ms for the digest). */
const stagingBytes = 1 << 20;

/**
 * Writes a memory layer (`layer-format.ts`) and syncs it; syncing its directory is the caller's. Pages that are all zero are
 * found and kept without data, neighbouring runs become one. The file is new (mode 0400, as memory may hold secrets); when
 * writing fails, nothing is left of it.
 *
 * @param pages in rising order, not overlapping
 * @throws AlcoveError `StateUnusable` (disk full, …), `Cancelled`, and what `pages` throws
 */
export async function writeMemoryLayer(
  path: string,
  { ramBytes, pages, signal }: { ramBytes: number; pages: PageRuns; signal?: AbortSignal },
): Promise<FileDigest> {
  if (!isRamSize(ramBytes)) throw new AlcoveError('Internal', `no machine has ${ramBytes} bytes of memory`);
  let file: FileHandle;
  try {
    file = await open(path, 'wx', 0o400);
  } catch (error) {
    throw storageError(path, error);
  }
  try {
    await using _closing = file;
    const writer = new LayerWriter(file, ramBytes / pageBytes);
    await writer.append(encodeHeader(ramBytes));
    for await (const run of pages) {
      if (signal?.aborted) throw cancelled(`writing ${path}`, signal);
      await writer.add(run);
    }
    return await writer.end();
  } catch (error) {
    await rm(path, { force: true });
    throw storageError(path, error);
  }
}

class LayerWriter {
  readonly #file: FileHandle;
  readonly #maxPages: number;
  readonly #hash = createHash('sha256');
  readonly #staging = Buffer.allocUnsafeSlow(stagingBytes);
  readonly #runs: LayerRun[] = [];
  #staged = 0;
  #written = 0;
  #nextPage = 0;
  #dataPages = 0;

  constructor(file: FileHandle, maxPages: number) {
    this.#file = file;
    this.#maxPages = maxPages;
  }

  async add({ firstPage, count, data }: PageRun): Promise<void> {
    if (firstPage < this.#nextPage || count < 1 || firstPage + count > this.#maxPages)
      throw new AlcoveError('Internal', `pages ${firstPage}+${count} come after page ${this.#nextPage - 1}`);
    this.#nextPage = firstPage + count;
    if (data === 'zero') return this.#note(firstPage, count, 'zero');
    if (data.length !== count * pageBytes)
      throw new AlcoveError('Internal', `${count} pages have ${data.length} bytes`);
    let start = 0;
    for (let page = 0; page < count; page++) {
      if (!isZero(data, page * pageBytes)) continue;
      await this.#addData(firstPage, data, start, page);
      this.#note(firstPage + page, 1, 'zero');
      start = page + 1;
    }
    await this.#addData(firstPage, data, start, count);
  }

  async #addData(firstPage: number, data: Buffer, start: number, end: number): Promise<void> {
    if (start === end) return;
    this.#note(firstPage + start, end - start, 'data');
    await this.append(data.subarray(start * pageBytes, end * pageBytes));
  }

  #note(firstPage: number, count: number, kind: LayerRun['kind']): void {
    const last = this.#runs.at(-1);
    if (last && last.kind === kind && last.firstPage + last.count === firstPage)
      this.#runs[this.#runs.length - 1] = { ...last, count: last.count + count };
    else this.#runs.push({ firstPage, count, kind, position: this.#dataPages });
    if (kind === 'data') this.#dataPages += count;
  }

  async append(bytes: Buffer): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const copied = bytes.copy(this.#staging, this.#staged, done);
      done += copied;
      this.#staged += copied;
      if (this.#staged === stagingBytes) await this.#flush();
    }
  }

  /** The digest is made while the kernel takes the bytes. */
  async #flush(): Promise<void> {
    const bytes = this.#staging.subarray(0, this.#staged);
    const writing = writeFully(this.#file, bytes, this.#written);
    this.#hash.update(bytes);
    await writing;
    this.#written += bytes.length;
    this.#staged = 0;
  }

  async end(): Promise<FileDigest> {
    await this.append(encodeEnd(this.#runs, this.#dataPages));
    await this.#flush();
    await this.#file.sync();
    return { sizeBytes: this.#written, sha256: this.#hash.digest('hex') };
  }
}

/** Writes all of `bytes`, which one call need not do. */
export async function writeFully(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}
