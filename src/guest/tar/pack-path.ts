import type { Stats } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { type Header, type Pack, pack } from 'tar-stream';
import { cancelled } from '../../errors.ts';
import { loadAhead } from './ahead.ts';
import { hostFileError } from './host-file-error.ts';
import { type Found, fileBytes, lookAt, placesBelow } from './host-tree.ts';

/** So many files are looked at ahead: reading small ones is waiting, most of all. */
const lookAhead = 16;

const noEntry = { code: 'ENOENT', syscall: 'lstat' };

/** The largest owner id that a ustar header of tar-stream holds (6 octal digits); larger ones go into pax. */
const maxUstarId = 0o777_777;

type EntryHeader = Partial<Header> & Pick<Header, 'name'>;

export interface PackOptions {
  /** Name of the top entry; names below it begin with it. @default `.` for a directory, else the file's own name */
  as?: string;
  /** Whether the directory itself gets an entry. @default 'include' */
  root?: 'include' | 'leave-out';
  signal?: AbortSignal | undefined;
}

/**
 * A file or the tree below a directory as a pax tar: modes, owners, times to the nanosecond's fraction that the host
 * tells, symlinks as links, hard links among the files. Sockets are left out, and what vanishes meanwhile. A file that
 * shrinks or grows while it is read is padded with zeros, or cut, at the size it had.
 *
 * @throws AlcoveError `HostFile` while iterating, when something cannot be read; `Cancelled`
 */
export async function* packPath(
  hostPath: string,
  options: PackOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const tar = pack();
  const packing = new Packing(tar, options.signal).root(hostPath, options).then(
    () => tar.finalize(),
    (error) => tar.destroy(error),
  );
  try {
    for await (const chunk of tar) yield chunk as Uint8Array; // Of nothing else is a tar made.
  } finally {
    tar.destroy();
    await packing;
  }
}

class Packing {
  readonly #tar: Pack;
  readonly #signal: AbortSignal | undefined;
  /** Names of files with several links, by device and inode. */
  readonly #linked = new Map<string, string>();

  constructor(tar: Pack, signal: AbortSignal | undefined) {
    this.#tar = tar;
    this.#signal = signal;
  }

  async root(path: string, options: PackOptions): Promise<void> {
    const name = options.as ?? (await defaultName(path));
    const top = await lookAt({ path, name });
    if (!top) throw hostFileError(path, Object.assign(new Error('it has vanished'), noEntry));
    if (options.root !== 'leave-out') await this.#entry(top);
    if (!top.stats.isDirectory()) return;
    const places = placesBelow(path, name === '.' ? '' : `${name}/`);
    for await (const found of loadAhead(places, lookAhead, lookAt)) {
      if (this.#signal?.aborted) throw cancelled(`packing ${path}`, this.#signal);
      if (found) await this.#entry(found);
    }
  }

  async #entry(found: Found): Promise<void> {
    const { name, stats } = found;
    if (stats.isSocket()) return;
    const header = headerOf(name, stats);
    const first = this.#firstLink(found);
    if (first !== undefined) return this.#write({ ...header, type: 'link', linkname: first });
    switch (found.kind) {
      case 'small-file':
        return this.#write({ ...header, size: found.bytes.length }, once(found.bytes));
      case 'large-file':
        return this.#write({ ...header, size: stats.size }, fileBytes(found.path, stats.size));
      case 'symlink':
        return this.#write({ ...header, linkname: found.target });
      case 'other':
        return this.#write(header);
    }
  }

  /** The name under which a file with several links is in the archive already. */
  #firstLink({ name, stats }: Found): string | undefined {
    if (stats.isDirectory() || stats.nlink === 1) return undefined;
    const inode = `${stats.dev}:${stats.ino}`;
    const first = this.#linked.get(inode);
    if (first === undefined) this.#linked.set(inode, name);
    return first;
  }

  /** Adds an entry; resolves when the archive's reader has taken it. */
  #write(header: EntryHeader, body?: AsyncIterable<Uint8Array>): Promise<void> {
    return new Promise((resolve, reject) => {
      const sink = this.#tar.entry(header, (error) => (error ? reject(error) : resolve()));
      if (body) pour(body, sink, this.#signal).catch(reject);
      else sink.end(null);
    });
  }
}

async function defaultName(path: string): Promise<string> {
  try {
    return (await lstat(path)).isDirectory() ? '.' : basename(resolve(path));
  } catch (error) {
    throw hostFileError(path, error);
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

/** Sends all of `body`, as fast as it is taken. A sink that is destroyed reports that by itself. */
async function pour(
  body: AsyncIterable<Uint8Array>,
  sink: ReturnType<Pack['entry']>,
  signal: AbortSignal | undefined,
): Promise<void> {
  let wake = () => {};
  sink.on('drain', () => wake());
  sink.on('close', () => wake());
  for await (const chunk of body) {
    if (signal?.aborted) throw cancelled('packing', signal);
    if (sink.destroying) return;
    if (sink.write(chunk)) continue;
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
  sink.end(null);
}

function headerOf(name: string, stats: Stats): EntryHeader {
  const device = stats.isBlockDevice() || stats.isCharacterDevice();
  const pax: Record<string, string> = { mtime: (stats.mtimeMs / 1_000).toFixed(6) };
  if (stats.uid > maxUstarId) pax.uid = String(stats.uid);
  if (stats.gid > maxUstarId) pax.gid = String(stats.gid);
  return {
    name,
    type: typeOf(stats),
    mode: stats.mode & 0o7777,
    uid: Math.min(stats.uid, maxUstarId),
    gid: Math.min(stats.gid, maxUstarId),
    size: 0,
    mtime: wholeSeconds(stats.mtimeMs),
    pax,
    ...(device && { devmajor: deviceMajor(stats.rdev), devminor: deviceMinor(stats.rdev) }),
  };
}

function typeOf(stats: Stats): Header['type'] {
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'symlink';
  if (stats.isFIFO()) return 'fifo';
  if (stats.isCharacterDevice()) return 'character-device';
  if (stats.isBlockDevice()) return 'block-device';
  return 'file';
}

/** What the header's own field can hold: tar-stream writes 31 bits. The whole truth is in pax. */
function wholeSeconds(mtimeMs: number): Date {
  return new Date(Math.min(Math.max(mtimeMs, 0), 0x7fff_ffff * 1_000));
}

/** As makedev(3) of glibc packs them. */
function deviceMajor(rdev: number): number {
  return (rdev >> 8) & 0xfff;
}

function deviceMinor(rdev: number): number {
  return (rdev & 0xff) | ((rdev >> 12) & 0xfff00);
}
