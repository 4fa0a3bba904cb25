import { statfs } from 'node:fs/promises';
import { backupFailed } from './backup-error.ts';
import type { BackupManifest } from './backup-info.ts';

/**
 * What a backup will take, in bytes. Of a session that was backed up before, its files are taken to compress as they did then, and a
 * quarter worse; of a new one, not at all. Too small a guess costs an attempt, which ends when the disk is full and leaves nothing.
 */
export function expectedBytes(
  usedBytes: number,
  previous: Pick<BackupManifest, 'fileBytes' | 'tarBytes'> | undefined,
): number {
  if (previous === undefined || previous.tarBytes === 0) return usedBytes;
  const ratio = (1.25 * previous.fileBytes) / previous.tarBytes;
  return Math.ceil(usedBytes * Math.min(1, ratio));
}

/** @throws AlcoveError `BackupFailed`; and what the file system says */
export async function requireRoom(directory: string, bytes: number): Promise<void> {
  const { bavail, bsize, blocks } = await statfs(directory);
  if (blocks === 0) return; // Some network file systems do not tell.
  const free = bavail * bsize;
  if (free >= bytes) return;
  throw backupFailed(
    `no room in the backup destination: some ${mebibytes(bytes)} MiB may be needed, ${mebibytes(free)} MiB are free`,
  );
}

function mebibytes(bytes: number): number {
  return Math.ceil(bytes / 2 ** 20);
}
