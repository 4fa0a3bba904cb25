import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlcoveError } from '../../errors.ts';
import type { BackupInfo, BackupManifest } from './backup-info.ts';
import { type BackupName, compareNames, manifestName, parseBackupName, stampMs } from './backup-name.ts';
import { readManifest } from './manifest-file.ts';

/** So many are looked at together: few enough to open. */
const together = 32;

/** What has the name of a backup, newest first; nothing when the directory is not there. @throws what the file system says */
export async function namesIn(
  directory: string,
  sessionId?: string,
): Promise<{ name: string; parsed: BackupName }[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names
    .flatMap((name) => {
      const parsed = parseBackupName(name);
      return parsed && (sessionId === undefined || parsed.sessionId === sessionId) ? [{ name, parsed }] : [];
    })
    .sort((a, b) => compareNames(b.parsed, a.parsed));
}

export async function listBackups(directory: string, sessionId?: string): Promise<BackupInfo[]> {
  const names = await namesIn(directory, sessionId);
  const found: BackupInfo[] = [];
  for (let at = 0; at < names.length; at += together) {
    const infos = await Promise.all(
      names.slice(at, at + together).map(({ name, parsed }) => backupInfo(directory, name, parsed)),
    );
    found.push(...infos.filter((info) => info !== undefined));
  }
  return found;
}

/** @returns `undefined` when there is none, or something that is no file: a symlink would lead elsewhere */
export async function backupInfo(
  directory: string,
  name: string,
  parsed: BackupName,
): Promise<BackupInfo | undefined> {
  const path = join(directory, name);
  const stats = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (!stats?.isFile()) return undefined;
  const { sessionId, stamp } = parsed;
  const manifest = await intactManifest(join(directory, manifestName(name)), sessionId);
  return {
    name,
    path,
    sessionId,
    createdAtMs: manifest?.createdAtMs ?? stampMs(stamp),
    fileBytes: stats.size,
    ...(manifest && { manifest }),
  };
}

/** A damaged one does not hide its backup; verifying says that it is. */
async function intactManifest(path: string, sessionId: string): Promise<BackupManifest | undefined> {
  try {
    return await readManifest(path, sessionId);
  } catch (error) {
    if (isAlcoveError(error, 'BackupInvalid')) return undefined;
    throw error;
  }
}
