import { constants } from 'node:fs';
import { chmod, copyFile, link } from 'node:fs/promises';
import { storageError, syncPath } from './durable.ts';

/** A second name for a file that never changes; a copy where the file system has no room for one or is another. */
export async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!['EXDEV', 'EMLINK', 'EPERM', 'ENOTSUP'].includes(code)) throw storageError(to, error);
    try {
      await copyFile(from, to, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
      await chmod(to, 0o444);
      await syncPath(to);
    } catch (copyError) {
      throw storageError(to, copyError);
    }
  }
}
