import { close, closeSync, constants, fstatSync, open, read, type Stats } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { errnoOf, hostFileError } from './host-file-error.ts';

const openFile = promisify(open);
const readFile = promisify(read);

/** Files up to this size are read whole, ahead of their turn. */
const smallBytes = 65_536;

/** A path on the host, and the name that it gets in the archive. */
export interface Place {
  path: string;
  name: string;
}

/** What is at a place; of a large file the bytes are still to be read. */
export type Found = Place & { stats: Stats } & (
    | { kind: 'small-file'; bytes: Uint8Array }
    | { kind: 'large-file' }
    | { kind: 'symlink'; target: string }
    | { kind: 'other' }
  );

/** Everything below a directory, itself not: directories before what is in them, each in the order of names. */
export async function* placesBelow(
  directory: string,
  prefix: string,
): AsyncGenerator<Place, void, undefined> {
  const entries = await ifThere(directory, () =>
    readdir(directory, { withFileTypes: true, encoding: 'buffer' }),
  );
  for (const entry of entries?.sort((a, b) => Buffer.compare(a.name, b.name)) ?? []) {
    const name = entry.name.toString();
    const path = join(directory, name);
    if (!Buffer.from(name).equals(entry.name)) throw hostFileError(path, new Error('its name is not UTF-8'));
    yield { path, name: prefix + name };
    if (entry.isDirectory()) yield* placesBelow(path, `${prefix}${name}/`);
  }
}

/** Looks at a place; `undefined` when what was there has vanished. Leaves nothing open. */
export async function lookAt(place: Place): Promise<Found | undefined> {
  const { path } = place;
  const stats = await ifThere(path, () => lstat(path));
  if (!stats) return undefined;
  if (stats.isFile()) return lookAtFile(place);
  if (!stats.isSymbolicLink()) return { ...place, stats, kind: 'other' };
  const target = await ifThere(path, () => readlink(path));
  return target === undefined ? undefined : { ...place, stats, kind: 'symlink', target };
}

/** Exactly as many bytes as a file had when it was looked at: what it has now, cut or padded with zeros. */
export async function* fileBytes(path: string, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  const fd = await openPlain(path).catch((error) => {
    throw hostFileError(path, error);
  });
  try {
    let ended = false;
    for (let left = size; left > 0; ) {
      const buffer = Buffer.allocUnsafeSlow(Math.min(left, smallBytes));
      const count: number = ended ? 0 : await readSome(path, fd, buffer);
      ended = count === 0;
      const chunk = ended ? buffer.fill(0) : buffer.subarray(0, count);
      yield chunk;
      left -= chunk.length;
    }
  } finally {
    close(fd);
  }
}

async function lookAtFile(place: Place): Promise<Found | undefined> {
  const { path } = place;
  const fd = await ifThere(path, () => openPlain(path));
  if (fd === undefined) return undefined;
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw hostFileError(path, new Error('it is no longer a file'));
    if (stats.size > smallBytes) return { ...place, stats, kind: 'large-file' };
    const bytes = Buffer.alloc(stats.size);
    for (let filled = 0; filled < bytes.length; ) {
      const count = await readSome(path, fd, bytes.subarray(filled));
      if (count === 0) break; // It has shrunk: the rest is zeros.
      filled += count;
    }
    return { ...place, stats, kind: 'small-file', bytes };
  } finally {
    closeSync(fd);
  }
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
