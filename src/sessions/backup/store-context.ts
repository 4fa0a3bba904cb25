import { isAlcoveError } from '../../errors.ts';
import type { Clock } from '../../host/index.ts';
import type { Random } from '../../vm/index.ts';
import { backupFailed } from './backup-error.ts';

export interface BackupStoreOptions {
  /** Directory on the host; made with the first backup. */
  destination: string;
  clock: Clock;
  random: Random;
  /** Short id of the state directory, `[a-z0-9]{1,32}`: in the names of files that are not complete yet, so that each engine knows its own. */
  owner: string;
  /** Told what could not be reported to a caller. */
  warn: (message: string) => void;
}

/** What a temporary name begins with: no backup's name begins with a dot, and no owner has a `-`. */
export function temporaryPrefix(owner: string): string {
  return `.alcove-${owner}-`;
}

/** The result of work on the destination; what the file system says of it as `BackupFailed`. */
export async function storing<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw isAlcoveError(error) ? error : backupFailed(what, error);
  }
}
