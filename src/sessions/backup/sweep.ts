import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { openRegular } from './open-regular.ts';
import { type BackupStoreOptions, temporaryPrefix } from './store-context.ts';

/**
 * Removes what engines of this owner left when they died while they wrote: files under temporary names, and a manifest that was named
 * when its tar was not yet. That one has the same bytes as the temporary one it was made from, which goes last.
 */
export async function sweep({ destination, owner, warn }: BackupStoreOptions): Promise<void> {
  const prefix = temporaryPrefix(owner);
  const trying = async (what: string, work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      warn(`could not remove ${what} from the backup destination: ${(error as Error).message}`);
    }
  };
  await trying(`half-made backups in ${destination}`, async () => {
    const names = new Set(await readdir(destination));
    const left = [...names].filter((name) => name.startsWith(prefix));
    for (const name of left.filter((each) => each.endsWith('.json'))) {
      await trying(join(destination, name), () => removeUnpaired(destination, name, names));
    }
    for (const name of left) await trying(join(destination, name), () => rm(join(destination, name)));
  });
}

/** Removes manifests without a backup that are copies of, or other names for, this one. */
async function removeUnpaired(
  directory: string,
  temporary: string,
  names: ReadonlySet<string>,
): Promise<void> {
  const bytes = await contents(join(directory, temporary));
  if (bytes === undefined || bytes.length === 0) return;
  for (const name of names) {
    if (name.startsWith('.') || !name.endsWith('.json')) continue;
    if (names.has(`${name.slice(0, -'.json'.length)}.tar.zst`)) continue;
    const path = join(directory, name);
    if ((await contents(path, bytes.length))?.equals(bytes)) await rm(path);
  }
}

/** Of a regular file that has this size, where one is wanted. */
async function contents(path: string, sizeBytes?: number): Promise<Buffer | undefined> {
  await using file = await openRegular(path, 'not followed');
  if (file === undefined || (sizeBytes !== undefined && (await file.stat()).size !== sizeBytes))
    return undefined;
  return file.readFile();
}
