import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import {
  chmod,
  chown,
  type FileHandle,
  lchown,
  link,
  lstat,
  lutimes,
  mkdir,
  open,
  rename,
  rm,
  symlink,
  unlink,
  utimes,
} from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import { errnoOf, hostFileError } from './host-file-error.ts';
import { badEntry, leadsOut } from './tar-names.ts';

/** What an entry says of itself besides its bytes. */
export interface Metadata {
  mode: number;
  uid: number;
  gid: number;
  mtimeMs: number;
}

/**
 * A directory of the host that an archive is unpacked into, entry by entry. Every parent is looked at before it is
 * used, and must be a real directory: nothing ever goes through a link. A directory that was looked at stays one, for
 * nothing here replaces a directory.
 */
export class UnpackedTree {
  readonly #root: string;
  readonly #owners: 'keep' | 'mine';
  /** Relative paths known to be real directories. */
  readonly #directories = new Set(['']);
  /** Relative paths of files of this archive, which hard links may name. */
  readonly #files = new Set<string>();
  /** Directories get their modes and times when nothing is written into them any more. */
  readonly #unfinished = new Map<string, Metadata>();
  readonly #rootIsOurs: boolean;

  /** @param root a real path */
  constructor(root: string, options: { made: 'now' | 'before'; owners: 'keep' | 'mine' }) {
    this.#root = root;
    this.#owners = options.owners;
    this.#rootIsOurs = options.made === 'now';
  }

  async directory(name: string, parts: string[], metadata: Metadata): Promise<void> {
    const path = parts.join('/');
    if (path !== '') {
      await this.#parents(name, parts);
      await this.#ensureDirectory(name, path);
    }
    if (path !== '' || this.#rootIsOurs) this.#unfinished.set(path, metadata);
  }

  /** A file appears whole, or not at all. @param write fills it */
  async file(
    name: string,
    parts: string[],
    metadata: Metadata,
    write: (file: FileHandle) => Promise<void>,
  ): Promise<void> {
    await this.#put(name, parts, async (temporary) => {
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
      const file = await open(temporary, flags, 0o600);
      try {
        await write(file);
        if (this.#owners === 'keep') await file.chown(metadata.uid, metadata.gid);
        await file.chmod(this.#mode(metadata));
        await file.utimes(metadata.mtimeMs / 1_000, metadata.mtimeMs / 1_000);
      } finally {
        await file.close();
      }
    });
    this.#files.add(parts.join('/'));
  }

  async symlink(name: string, parts: string[], metadata: Metadata, target: string): Promise<void> {
    if (leadsOut(target, parts.length - 1)) {
      throw badEntry(name, `is a link that leads out: ${JSON.stringify(target.slice(0, 200))}`);
    }
    await this.#put(name, parts, async (temporary) => {
      await symlink(target, temporary);
      if (this.#owners === 'keep') await lchown(temporary, metadata.uid, metadata.gid);
      await lutimes(temporary, metadata.mtimeMs / 1_000, metadata.mtimeMs / 1_000);
    });
  }

  async hardLink(name: string, parts: string[], target: string): Promise<void> {
    // What is no clean relative path is not among the files.
    const targetParts = target.split('/').filter((part) => part !== '' && part !== '.');
    const path = targetParts.join('/');
    if (target.startsWith('/') || !this.#files.has(path)) {
      throw badEntry(
        name,
        `is a hard link to what is no file of this archive: ${JSON.stringify(target.slice(0, 200))}`,
      );
    }
    if (path === parts.join('/')) return;
    await this.#put(name, parts, async (temporary) => {
      // Where the name is a link to the file already, a rename between the two would do nothing.
      await unlink(join(this.#root, ...parts)).catch((error) => {
        if (errnoOf(error) !== 'ENOENT') throw error;
      });
      await link(join(this.#root, path), temporary);
    });
    this.#files.add(parts.join('/'));
  }

  /** Gives the directories their modes and times, the innermost first. */
  async finish(): Promise<void> {
    const paths = [...this.#unfinished.keys()].sort((a, b) => depth(b) - depth(a));
    for (const relative of paths) {
      const metadata = this.#unfinished.get(relative);
      if (!metadata) continue;
      const path = join(this.#root, relative);
      try {
        if (this.#owners === 'keep') await chown(path, metadata.uid, metadata.gid);
        await chmod(path, this.#mode(metadata));
        await utimes(path, metadata.mtimeMs / 1_000, metadata.mtimeMs / 1_000);
      } catch (error) {
        throw hostFileError(path, error);
      }
    }
  }

  /** Makes something under a name of its own in its directory, then gives it its name. */
  async #put(name: string, parts: string[], make: (temporary: string) => Promise<void>): Promise<void> {
    if (parts.length === 0) throw badEntry(name, 'would replace the destination itself');
    await this.#parents(name, parts);
    const relative = parts.join('/');
    const path = join(this.#root, relative);
    const temporary = join(path, '..', `.alcove-${randomBytes(6).toString('hex')}`);
    try {
      await make(temporary);
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      if (error instanceof AlcoveError) throw error;
      const errno = errnoOf(error);
      if (errno === 'EISDIR') throw badEntry(name, 'would replace a directory');
      // Not a system error: what the entry's bytes come from has failed.
      throw errno === undefined ? error : hostFileError(path, error);
    }
    this.#files.delete(relative);
  }

  async #parents(name: string, parts: string[]): Promise<void> {
    for (let length = 1; length < parts.length; length++) {
      await this.#ensureDirectory(name, parts.slice(0, length).join('/'));
    }
  }

  async #ensureDirectory(name: string, relative: string): Promise<void> {
    if (this.#directories.has(relative)) return;
    const path = join(this.#root, relative);
    const stats = await lookAt(path);
    if (!stats) {
      await mkdir(path).catch((error) => {
        throw hostFileError(path, error);
      });
    } else if (!stats.isDirectory()) {
      const what = stats.isSymbolicLink() ? 'a link' : 'no directory';
      throw badEntry(name, `needs the directory ${JSON.stringify(relative.slice(0, 200))}, which is ${what}`);
    }
    this.#directories.add(relative);
  }

  /** Set-user-id, set-group-id and sticky bits mean something only with the owner they were made for. */
  #mode({ mode }: Metadata): number {
    return mode & (this.#owners === 'keep' ? 0o7777 : 0o777);
  }
}

async function lookAt(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw hostFileError(path, error);
  }
}

/** Writes all of a chunk. @param position where in the file; after what was written last when absent */
export async function writeAll(file: FileHandle, chunk: Uint8Array, position?: number): Promise<void> {
  for (let offset = 0; offset < chunk.length; ) {
    const at = position === undefined ? null : position + offset;
    offset += (await file.write(chunk, offset, chunk.length - offset, at)).bytesWritten;
  }
}

function depth(path: string): number {
  return path === '' ? 0 : path.split('/').length;
}
