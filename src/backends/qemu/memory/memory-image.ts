import { createHash } from 'node:crypto';
import { lstatSync, unlinkSync } from 'node:fs';
import { lstat, mkdir, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError } from '../../../errors.ts';
import { bootId, type Clock, Holds, SingleFlight } from '../../../host/index.ts';
import { isSealed, type Seal, sealOfFile, storageError } from '../../../store/index.ts';
import { buildImage } from './build-image.ts';
import { LayerStack } from './layer-stack.ts';
import { openLayers } from './memory-layer.ts';

export interface MemoryImageRequest {
  /** Lowest first. That the files are what their digests say is the caller's to know (a seal tells). */
  layers: readonly { path: string; sha256: string }[];
  ramBytes: number;
}

/** A memory image in use: it is not removed until this is disposed of, or as long as its file has a second name. */
export interface MemoryImage extends Disposable {
  readonly path: string;
  readonly key: string;
}

export interface ListedImage {
  key: string;
  path: string;
  diskBytes: number;
  lastUsedMs: number;
  held: boolean;
}

/** Kept beside each image: it is believed only when all of this is still so. */
interface ImageRecord {
  bootId: string;
  seal: Seal;
}

/**
 * Memory images: what a stack of memory layers shows, as one flat sparse file that a QEMU can map privately. Made once per stack,
 * shared by all machines that start from it, so their unchanged pages are the same in the page cache.
 *
 * It is a cache. Nothing is synced, so that making one costs no wait for the disk; in turn an image is believed only within the boot
 * of the host in which it was made, after which power loss may have left holes where data was, and only while its size, inode
 * and mtime are what they were. Otherwise it is made anew, beside the old one, which machines that have it mapped keep.
 *
 * Who holds an image: whoever got it here and did not dispose of it, and every machine that has a hard link to its file, which QEMUs
 * of an earlier life of the engine have too. The files belong to the engine with mode 0600: QEMU 7.2 opens a
 * `memory-backend-file` for writing even when it maps it privately, and does so before it drops to its own user.
 */
export class MemoryImages {
  readonly #dir: string;
  readonly #tmpDir: string;
  readonly #clock: Clock;
  readonly #flights = new SingleFlight<void>();
  readonly #holds = new Holds();
  #made = 0;

  /** @param options `dir` is made when absent; `tmpDir` is on the same file system, and emptied after a crash by its owner */
  constructor({ dir, tmpDir, clock }: { dir: string; tmpDir: string; clock: Clock }) {
    this.#dir = dir;
    this.#tmpDir = tmpDir;
    this.#clock = clock;
  }

  /**
   * The image of a stack, made unless there is one to be believed. Calls at once for one stack share the making.
   *
   * @throws AlcoveError `SnapshotCorrupt` (names the layer), `StateUnusable` (disk full, …), `Cancelled`
   */
  async get(request: MemoryImageRequest, options: { signal?: AbortSignal } = {}): Promise<MemoryImage> {
    const key = keyOf(request);
    const path = this.#pathOf(key);
    const held = this.#holds.hold(key); // From before it is there, so that nobody removes it between then and now.
    try {
      await this.#flights.run(key, options, async ({ signal }) => {
        if (!(await this.#believed(key))) await this.#make(key, request, signal);
        const now = this.#clock.now() / 1000;
        await utimes(this.#recordOf(key), now, now);
      });
    } catch (error) {
      held[Symbol.dispose]();
      throw error;
    }
    return { path, key, ...held };
  }

  /** All there are, made in this boot or before. */
  async list(): Promise<ListedImage[]> {
    const names = await readdir(this.#dir).catch(noneWhenAbsent);
    const found: ListedImage[] = [];
    for (const name of names.sort()) {
      const key = name.endsWith('.raw') ? name.slice(0, -'.raw'.length) : '';
      if (!isKey(key)) continue;
      const path = this.#pathOf(key);
      const stats = await lstat(path).catch(() => undefined); // It may go meanwhile.
      if (!stats) continue;
      const record = await lstat(this.#recordOf(key)).catch(() => stats);
      const diskBytes = stats.blocks * 512;
      found.push({ key, path, diskBytes, lastUsedMs: record.mtimeMs, held: this.#isHeld(key) });
    }
    return found;
  }

  /** Removes one. `false` when it is held; `true` when it is gone, also when it was before. */
  async remove(key: string): Promise<boolean> {
    if (!isKey(key)) return true;
    // In one go: between looking and removing nobody can come to hold it.
    if (this.#isHeld(key)) return false;
    for (const path of [this.#recordOf(key), this.#pathOf(key)]) unlinkIfThere(path);
    return true;
  }

  /**
   * Removes what nobody holds: what can never be used again, and the least recently used ones of the rest until they
   * take no more than `maxUnusedBytes` of disk.
   *
   * @returns the keys of those removed
   */
  async trim({ maxUnusedBytes }: { maxUnusedBytes: number }): Promise<string[]> {
    const unheld = (await this.list()).filter(({ held }) => !held);
    const removed: string[] = [];
    let kept = 0;
    for (const { key, diskBytes } of unheld.sort((a, b) => b.lastUsedMs - a.lastUsedMs)) {
      const keep = kept + diskBytes <= maxUnusedBytes && (await this.#believed(key));
      if (keep) kept += diskBytes;
      else if (await this.remove(key)) removed.push(key);
    }
    return removed;
  }

  async #make(key: string, { layers, ramBytes }: MemoryImageRequest, signal: AbortSignal): Promise<void> {
    const temporary = join(this.#tmpDir, `memory-image-${process.pid}-${this.#made++}`);
    const record = `${temporary}.json`;
    try {
      await using open = await openLayers(
        layers.map(({ path }) => path),
        ramBytes,
      );
      await buildImage(temporary, new LayerStack(open.layers, ramBytes), ramBytes, signal);
      await mkdir(this.#dir, { recursive: true, mode: 0o700 });
      await rename(temporary, this.#pathOf(key));
      const content: ImageRecord = { bootId: bootId(), seal: await sealOfFile(this.#pathOf(key)) };
      await writeFile(record, JSON.stringify(content), { mode: 0o600 });
      await rename(record, this.#recordOf(key));
    } catch (error) {
      await rm(temporary, { force: true });
      await rm(record, { force: true });
      throw storageError(this.#pathOf(key), error);
    }
  }

  async #believed(key: string): Promise<boolean> {
    try {
      const record: ImageRecord = JSON.parse(await readFile(this.#recordOf(key), 'utf8'));
      return record.bootId === bootId() && (await isSealed(this.#pathOf(key), record.seal));
    } catch {
      return false; // Whatever is wrong with it, it can be made anew.
    }
  }

  #isHeld(key: string): boolean {
    if (this.#holds.has(key)) return true;
    const stats = lstatSync(this.#pathOf(key), { throwIfNoEntry: false });
    return stats !== undefined && stats.nlink > 1;
  }

  #pathOf(key: string): string {
    return join(this.#dir, `${key}.raw`);
  }

  #recordOf(key: string): string {
    return join(this.#dir, `${key}.json`);
  }
}

/** Names what an image shows, by content. */
function keyOf({ layers, ramBytes }: MemoryImageRequest): string {
  const parts = ['memory image 1', String(ramBytes), ...layers.map(({ sha256 }) => sha256)];
  return createHash('sha256').update(parts.join('\n')).digest('hex');
}

function isKey(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw storageError(path, error);
  }
}

function noneWhenAbsent(error: NodeJS.ErrnoException): string[] {
  if (error.code === 'ENOENT') return [];
  throw new AlcoveError('StateUnusable', `cannot list memory images: ${error.message}`, { cause: error });
}
