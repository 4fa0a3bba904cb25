import { close, closeSync, constants, type Dirent, fstatSync, open, read, type Stats } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { cancelled } from '../../errors.ts';
import type { BufferPool } from '../buffer-pool.ts';
import { loadAhead } from './ahead.ts';
import { errnoOf, hostFileError } from './host-file-error.ts';
import { kindOf, type TreeKind } from './tree-kind.ts';

const openFile = promisify(open);
const readFile = promisify(read);

/** Files up to this size are read whole, ahead of their turn; others in pieces of it. */
export const smallBytes = 65_536;

/** So many files are looked at ahead: reading small ones is waiting, most of all. */
export const lookAhead = 16;

const noEntry = { code: 'ENOENT', syscall: 'lstat' };

/** Says what belongs to a tree. A directory that does not is not looked into. */
export type Select = (entry: SelectEntry) => boolean | Promise<boolean>;

export interface SelectEntry {
  /** Relative to the top. */
  path: string;
  /** A link to a directory is none. */
  isDirectory: boolean;
  hostPath: string;
}

export interface TreeOptions {
  /** Asked in the order of the tree about everything below the top. @default all */
  select?: Select | undefined;
  signal?: AbortSignal | undefined;
}

/** A path on the host, and relative to the top of the tree; the top's own is its name, or `.` for a directory. */
interface Place {
  path: string;
  relative: string;
}

/** What is at a place; of a large file the bytes are still to be read. */
export type Found = Place & { stats: Stats } & (
    | { kind: 'small-file'; bytes: Uint8Array }
    | { kind: 'large-file' }
    | { kind: 'symlink'; target: string }
    | { kind: 'other' }
  );

/** What is at a path: the top of a tree. @throws AlcoveError `HostFile` */
export async function lookAtTop(path: string): Promise<Found> {
  const found = await lookAt({ path, relative: basename(resolve(path)) }, undefined);
  if (!found) throw hostFileError(path, Object.assign(new Error('it has vanished'), noEntry));
  return found.stats.isDirectory() ? { ...found, relative: '.' } : found;
}

/**
 * Everything below a top but sockets and what vanishes meanwhile: directories before what is in them, each in the order of
 * names.
 *
 * @param pool for what small files hold; whoever is done with it gives it back
 */
export async function* treeBelow(
  top: Found,
  { select, signal }: TreeOptions,
  pool?: BufferPool,
): AsyncGenerator<Found, void, undefined> {
  if (!top.stats.isDirectory()) return;
  const places = placesBelow(top.path, '', select);
  for await (const found of loadAhead(places, lookAhead, (place) => lookAt(place, pool))) {
    if (signal?.aborted) throw cancelled(`reading ${top.path}`, signal);
    if (found && !found.stats.isSocket()) yield found;
  }
}

/** What is below a directory but sockets, in the order of {@link treeBelow}; nothing is looked at closer. */
export async function* listTree(
  directory: string,
  { select, signal }: TreeOptions = {},
): AsyncGenerator<{ path: string; kind: TreeKind }, void, undefined> {
  for await (const { relative, entry } of placesBelow(directory, '', select)) {
    if (signal?.aborted) throw cancelled(`reading ${directory}`, signal);
    if (!entry.isSocket()) yield { path: relative, kind: kindOf(entry) };
  }
}

async function* placesBelow(
  directory: string,
  prefix: string,
  select: Select | undefined,
): AsyncGenerator<Place & { entry: Dirent<Buffer> }, void, undefined> {
  const entries = await ifThere(directory, () =>
    readdir(directory, { withFileTypes: true, encoding: 'buffer' }),
  );
  for (const entry of entries?.sort((a, b) => Buffer.compare(a.name, b.name)) ?? []) {
    const name = entry.name.toString();
    const path = join(directory, name);
    if (!Buffer.from(name).equals(entry.name)) throw hostFileError(path, new Error('its name is not UTF-8'));
    const relative = prefix + name;
    const isDirectory = entry.isDirectory();
    if (select && !(await select({ path: relative, isDirectory, hostPath: path }))) continue;
    yield { path, relative, entry };
    if (isDirectory) yield* placesBelow(path, `${relative}/`, select);
  }
}

/** Looks at a place; `undefined` when what was there has vanished. Leaves nothing open. */
async function lookAt({ path, relative }: Place, pool: BufferPool | undefined): Promise<Found | undefined> {
  const place = { path, relative };
  const stats = await ifThere(path, () => lstat(path));
  if (!stats) return undefined;
  if (stats.isFile()) return lookAtFile(place, pool);
  if (!stats.isSymbolicLink()) return { ...place, stats, kind: 'other' };
  const bytes = await ifThere(path, () => readlink(path, { encoding: 'buffer' }));
  if (!bytes) return undefined;
  const target = bytes.toString();
  if (!Buffer.from(target).equals(bytes)) throw hostFileError(path, new Error('its target is not UTF-8'));
  return { ...place, stats, kind: 'symlink', target };
}

/**
 * Exactly as many bytes as a file had when it was looked at: what it has now, cut or padded with zeros.
 *
 * @param pool for the pieces; whoever is done with one gives it back
 */
export async function* fileBytes(
  path: string,
  size: number,
  pool?: BufferPool,
): AsyncGenerator<Uint8Array, void, undefined> {
  const fd = await openPlain(path).catch((error) => {
    throw hostFileError(path, error);
  });
  try {
    let ended = false;
    for (let left = size; left > 0; ) {
      const buffer = bufferOf(Math.min(left, smallBytes), pool);
      const count: number = ended ? 0 : await readSome(path, fd, buffer);
      ended = count === 0;
      if (ended) buffer.fill(0);
      const chunk = ended || count === buffer.length ? buffer : buffer.subarray(0, count);
      yield chunk;
      left -= chunk.length;
    }
  } finally {
    close(fd);
  }
}

async function lookAtFile(place: Place, pool: BufferPool | undefined): Promise<Found | undefined> {
  const { path } = place;
  const fd = await ifThere(path, () => openPlain(path));
  if (fd === undefined) return undefined;
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw hostFileError(path, new Error('it is no longer a file'));
    if (stats.size > smallBytes) return { ...place, stats, kind: 'large-file' };
    const bytes = bufferOf(stats.size, pool);
    for (let filled = 0; filled < bytes.length; ) {
      const count = await readSome(path, fd, bytes.subarray(filled));
      if (count === 0) bytes.fill(0, filled); // It has shrunk.
      filled = count === 0 ? bytes.length : filled + count;
    }
    return { ...place, stats, kind: 'small-file', bytes };
  } finally {
    closeSync(fd);
  }
}

function bufferOf(bytes: number, pool: BufferPool | undefined): Buffer {
  return pool?.take(bytes) ?? Buffer.allocUnsafeSlow(bytes);
}

/** Opens what was a file: links are not followed, and a fifo is not waited for, should it have become one. */
function openPlain(path: string): Promise<number> {
  return openFile(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
}

async function readSome(path: string, fd: number, buffer: Buffer): Promise<number> {
  try {
    return (await readFile(fd, buffer, 0, buffer.length, null)).bytesRead;
  } catch (error) {
    throw hostFileError(path, error);
  }
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
