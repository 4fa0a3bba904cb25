import { constants } from 'node:fs';
import { copyFile, link, lstat, rename, rm } from 'node:fs/promises';
import { syncPath } from '../../store/index.ts';
import { type BackupName, formatBackupName, manifestName } from './backup-name.ts';
import type { HeldDirectory } from './held-directory.ts';

/** The two files of a backup, complete and synced, under temporary names. */
export interface Unnamed {
  tar: string;
  manifest: string;
}

/** What file systems say that have no second names for a file: FAT, some network and FUSE ones. */
const noLinks = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'];

/**
 * Gives a backup the first name that is free from `wanted` on, counting up its sequence. The manifest is named first: what has a
 * manifest alone is not there yet. No name that is taken is ever replaced.
 *
 * Where the file system has no hard links, creating the manifest takes the name, and the tar is renamed. That could replace a file that
 * somebody puts there by hand between the look and the rename; other engines respect the manifest.
 *
 * @param linkFile as `link(2)`, which refuses a name that is taken
 * @throws what the file system says; then no name was given
 */
export async function takeName(
  directory: HeldDirectory,
  files: Unnamed,
  wanted: BackupName,
  linkFile: typeof link = link,
): Promise<string> {
  for (let sequence = wanted.sequence; ; sequence++) {
    const name = formatBackupName({ ...wanted, sequence });
    if (!(await taken(() => linkOrCopyManifest(directory, files.manifest, manifestName(name), linkFile))))
      continue;
    let named = false;
    try {
      named = await taken(() => nameTar(directory, files.tar, name, linkFile));
      if (named) return name;
    } finally {
      if (!named) await rm(directory.at(manifestName(name)), { force: true });
    }
  }
}

/** Whether `take` got the name; not when another has it. */
async function taken(take: () => Promise<void>): Promise<boolean> {
  try {
    await take();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function linkOrCopyManifest(
  directory: HeldDirectory,
  from: string,
  to: string,
  linkFile: typeof link,
): Promise<void> {
  try {
    await linkFile(directory.at(from), directory.at(to));
  } catch (error) {
    if (!noLinks.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    await copyFile(directory.at(from), directory.at(to), constants.COPYFILE_EXCL);
    try {
      await syncPath(directory.at(to));
    } catch (unsynced) {
      await rm(directory.at(to), { force: true });
      throw unsynced;
    }
  }
}

async function nameTar(
  directory: HeldDirectory,
  from: string,
  to: string,
  linkFile: typeof link,
): Promise<void> {
  try {
    await linkFile(directory.at(from), directory.at(to));
  } catch (error) {
    if (!noLinks.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    const there = await lstat(directory.at(to)).catch((missing: NodeJS.ErrnoException) => {
      if (missing.code !== 'ENOENT') throw missing;
    });
    if (there) throw Object.assign(new Error(`${to} is taken`), { code: 'EEXIST' });
    await rename(directory.at(from), directory.at(to));
  }
}
