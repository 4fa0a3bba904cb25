import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/**
 * Opens a regular file to read. Nothing else is waited for (a fifo) or acted on (a device).
 *
 * @param symlink whether one in the place of the file is followed; those on the way to it are
 * @returns `undefined` when there is none, or something else
 * @throws what the file system says
 */
export async function openRegular(
  path: string,
  symlink: 'followed' | 'not followed',
): Promise<FileHandle | undefined> {
  const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW } = constants;
  let file: FileHandle;
  try {
    file = await open(path, O_RDONLY | O_NONBLOCK | (symlink === 'followed' ? 0 : O_NOFOLLOW));
  } catch (error) {
    // ELOOP: a symlink that is not followed. ENXIO: a socket.
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes((error as NodeJS.ErrnoException).code ?? ''))
      return undefined;
    throw error;
  }
  let isFile = false;
  try {
    isFile = (await file.stat()).isFile();
  } finally {
    if (!isFile) await file.close();
  }
  return isFile ? file : undefined;
}
