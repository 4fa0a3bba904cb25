import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AlcoveError } from '../errors.ts';

/** Makes what was written to a file or directory survive power loss. */
export async function syncPath(path: string): Promise<void> {
  await using handle = await open(path, 'r');
  await handle.sync();
}

/** Renames, and makes the new name survive power loss. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncPath(dirname(to));
  if (dirname(from) !== dirname(to)) await syncPath(dirname(from));
}

let writes = 0;

/** Writes a file whole or not at all: temporary name beside it, fsync, rename, fsync of the directory. */
export async function writeFileDurably(path: string, data: string | Uint8Array, mode = 0o600): Promise<void> {
  const temporary = `${path}.tmp-${process.pid}-${writes++}`; // Two writers of one path must not share it.
  try {
    {
      await using handle: FileHandle = await open(temporary, 'wx', mode);
      await handle.writeFile(data);
      await handle.sync();
    }
    await renameDurably(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** The typed error for a host file system that cannot take what is written: full, read-only, over quota. Others pass through. */
export function storageError(path: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (!code || !['ENOSPC', 'EROFS', 'EDQUOT', 'EACCES', 'EPERM', 'EMFILE', 'EIO'].includes(code))
    return error;
  return new AlcoveError('StateUnusable', `cannot write ${path}: ${(error as Error).message}`, {
    cause: error,
    details: { path, errno: code },
  });
}
