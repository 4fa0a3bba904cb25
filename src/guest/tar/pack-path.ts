import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open, readdir, readlink } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { type Header, type Pack, pack } from 'tar-stream';
import { cancelled } from '../../errors.ts';
import { errnoOf, hostFileError } from './host-file-error.ts';

/** Bytes of a file read at once. */
const readBytes = 65_536;

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
    const stats = await lstat(path, { bigint: false }).catch((error) => {
      throw hostFileError(path, error);
    });
    const name = options.as ?? (stats.isDirectory() ? '.' : basename(resolve(path)));
    if (options.root !== 'leave-out') await this.#entry(path, name, stats);
    if (stats.isDirectory()) await this.#below(path, name === '.' ? '' : `${name}/`);
  }

  async #below(directory: string, prefix: string): Promise<void> {
    const names = await readdir(directory, { encoding: 'buffer' }).catch((error) => {
      throw hostFileError(directory, error);
    });
    for (const bytes of names.sort(Buffer.compare)) {
      if (this.#signal?.aborted) throw cancelled(`packing ${directory}`, this.#signal);
      const name = bytes.toString();
      const path = join(directory, name);
      if (!Buffer.from(name).equals(bytes)) {
        throw hostFileError(path, new Error('its name is not UTF-8'));
      }
      const stats = await ifThere(path, () => lstat(path));
      if (!stats) continue;
      await this.#entry(path, prefix + name, stats);
      if (stats.isDirectory()) await this.#below(path, `${prefix + name}/`);
    }
  }

  async #entry(path: string, name: string, stats: Stats): Promise<void> {
    if (stats.isSocket()) return;
    if (!stats.isDirectory() && stats.nlink > 1) {
      const inode = `${stats.dev}:${stats.ino}`;
      const first = this.#linked.get(inode);
      if (first !== undefined)
        return this.#write({ ...headerOf(name, stats), type: 'link', linkname: first });
      this.#linked.set(inode, name);
    }
    if (stats.isFile()) return this.#file(path, name);
    if (!stats.isSymbolicLink()) return this.#write(headerOf(name, stats));
    const linkname = await ifThere(path, () => readlink(path));
    if (linkname !== undefined) await this.#write({ ...headerOf(name, stats), linkname });
  }

  async #file(path: string, name: string): Promise<void> {
    // Not followed, and not waited for: it may have become something else since it was looked at.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const file = await ifThere(path, () => open(path, flags));
    if (!file) return;
    try {
      const stats = await file.stat();
      if (!stats.isFile()) throw hostFileError(path, new Error('it is no longer a file'));
      await this.#write({ ...headerOf(name, stats), size: stats.size }, contents(path, file, stats.size));
    } finally {
      await file.close();
    }
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
    if (sink.write(chunk)) continue;
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
  sink.end(null);
}

/** Exactly `size` bytes: what the file has, cut or padded with zeros. */
async function* contents(
  path: string,
  file: FileHandle,
  size: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let ended = false;
  for (let left = size; left > 0; ) {
    const length = Math.min(left, readBytes);
    const buffer = Buffer.allocUnsafeSlow(length);
    const bytesRead: number = ended ? 0 : await read(path, file, buffer);
    ended = bytesRead === 0;
    const chunk = ended ? buffer.fill(0) : buffer.subarray(0, bytesRead);
    yield chunk;
    left -= chunk.length;
  }
}

async function read(path: string, file: FileHandle, buffer: Buffer): Promise<number> {
  try {
    return (await file.read(buffer)).bytesRead;
  } catch (error) {
    throw hostFileError(path, error);
  }
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

/** What `look` finds, or `undefined` when the path has vanished. */
async function ifThere<T>(path: string, look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw hostFileError(path, error);
  }
}
