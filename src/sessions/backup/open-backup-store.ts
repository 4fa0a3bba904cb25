import { rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import { backupNotFound } from './backup-error.ts';
import type { BackupInfo } from './backup-info.ts';
import { manifestName, parseBackupName } from './backup-name.ts';
import type { BackupStore } from './backup-store.ts';
import { HeldDirectory } from './held-directory.ts';
import { backupInfo, listBackups } from './list-backups.ts';
import { readManifest } from './manifest-file.ts';
import { type BackupStoreOptions, storing } from './store-context.ts';
import { sweep } from './sweep.ts';
import { type ArchivePlace, verifyArchive } from './verify-archive.ts';
import { writeBackup } from './write-backup.ts';

/**
 * Backups in a directory of the host. Nothing is opened or made before it is needed.
 *
 * @throws AlcoveError `InvalidInput` for an owner that is not of the allowed form
 */
export function openBackupStore(options: BackupStoreOptions): BackupStore {
  if (!/^[a-z0-9]{1,32}$/.test(options.owner)) {
    throw new AlcoveError(
      'InvalidInput',
      `owner ${JSON.stringify(options.owner)} is not 1 to 32 of a-z and 0-9`,
      {
        details: { field: 'owner' },
      },
    );
  }
  const destination = resolve(options.destination);
  const store = { ...options, destination };
  const cannotRead = `cannot read the backup destination ${destination}`;
  const cannotRemove = `cannot remove from the backup destination ${destination}`;

  const find = async (name: string): Promise<BackupInfo | undefined> => {
    const parsed = parseBackupName(name);
    return parsed && (await storing(cannotRead, () => backupInfo(destination, name, parsed)));
  };

  /** By name, or by path; a path to a backup is that backup. */
  const placeOf = async (from: string): Promise<ArchivePlace> => {
    if (from.includes('/')) {
      const path = resolve(from);
      const name = path.slice(dirname(path).length).replace(/^\/+/, '');
      const info = dirname(path) === destination ? await find(name) : undefined;
      return info ? { path, info } : { path };
    }
    const info = await find(from);
    if (!info) throw backupNotFound(from);
    return { path: info.path, info };
  };

  const remove = async (name: string): Promise<void> => {
    if (parseBackupName(name) === undefined) throw backupNotFound(name);
    await storing(cannotRemove, async () => {
      if (!(await find(name))) throw backupNotFound(name);
      await using directory = await HeldDirectory.open(destination);
      // In this order: without its manifest it would be a backup that nobody can check.
      await rm(directory.at(name), { force: true });
      await rm(directory.at(manifestName(name)), { force: true });
      await directory.sync();
    });
  };

  return {
    destination,
    find,
    remove,
    list: ({ sessionId } = {}) => storing(cannotRead, () => listBackups(destination, sessionId)),
    write: (source, call = {}) => writeBackup(store, source, call),

    async verify(from, limits, call = {}) {
      const place = await placeOf(from);
      // Says what is wrong with one that is damaged; listing has passed over it.
      if (place.info && !place.info.manifest) {
        await readManifest(join(destination, manifestName(place.info.name)), place.info.sessionId);
      }
      return verifyArchive(place, limits, call);
    },

    sweep: () => sweep(store),
  };
}
