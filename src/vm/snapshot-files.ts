import type { BigIntStats } from 'node:fs';
import { lstat, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError } from '../errors.ts';
import { type Seal, syncPath, writeFileDurably } from '../store/index.ts';
import type { SnapshotManifest } from './backend.ts';
import { fileTimeMs, type Seals, settledSealOf } from './seals.ts';

/** The file beside a snapshot's own ones that says what they are. */
export const manifestName = 'manifest.json';

export async function makeSnapshotDir(dir: string): Promise<void> {
  await mkdir(dir, { mode: 0o700 });
}

/** Makes a captured snapshot survive power loss; the manifest comes last, so that one without it is known to be half-made. */
export async function finishSnapshotDir(
  dir: string,
  parentDir: string,
  manifest: SnapshotManifest,
): Promise<void> {
  await writeFileDurably(join(dir, manifestName), `${JSON.stringify(manifest, undefined, 2)}\n`);
  await syncPath(dir);
  await syncPath(parentDir);
}

export async function removeSnapshotDir(dir: string, parentDir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true });
  await syncPath(parentDir);
}

/** A snapshot on disk, as far as its files are concerned. */
export interface SnapshotFiles {
  dir: string;
  manifest: Pick<SnapshotManifest, 'files'>;
  /** For messages. */
  ref: string;
}

/**
 * Looks whether every file of a snapshot is there with its size, and reads none of them.
 *
 * @returns what was seen, by name
 * @throws AlcoveError `SnapshotCorrupt`, which names the file
 */
export async function statSnapshotFiles(snapshot: SnapshotFiles): Promise<Map<string, BigIntStats>> {
  const { dir, manifest } = snapshot;
  const entries = Object.entries(manifest.files);
  const seen = await Promise.all(
    entries.map(async ([name, { sizeBytes }]): Promise<[string, BigIntStats]> => {
      const stats = await lstat(join(dir, name), { bigint: true }).catch((error: NodeJS.ErrnoException) => {
        throw unreadable(snapshot, name, error);
      });
      if (!stats.isFile()) throw damaged(snapshot, name, 'is no file');
      if (stats.size !== BigInt(sizeBytes))
        throw damaged(snapshot, name, `has ${stats.size} bytes instead of ${sizeBytes}`);
      return [name, stats];
    }),
  );
  return new Map(seen);
}

/** Seals the files of a snapshot whose bytes are known to be right, because they were written and digested just now. */
export async function sealSnapshotFiles(snapshot: SnapshotFiles): Promise<Seals> {
  const seenAtMs = fileTimeMs();
  const seals: Record<string, Seal> = {};
  for (const [name, stats] of await statSnapshotFiles(snapshot)) {
    const seal = settledSealOf(stats, seenAtMs);
    if (seal !== undefined) seals[name] = seal;
  }
  return seals;
}

/** Of an error over one of its files: whether the file is to blame, or this host. */
export function unreadable(snapshot: SnapshotFiles, file: string, error: NodeJS.ErrnoException): unknown {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return damaged(snapshot, file, 'is gone', error);
  if (error.code === 'EIO') return damaged(snapshot, file, 'cannot be read: EIO', error);
  return new AlcoveError('StateUnusable', `cannot read ${join(snapshot.dir, file)}: ${error.message}`, {
    cause: error,
  });
}

export function damaged(
  { dir, ref }: SnapshotFiles,
  file: string,
  what: string,
  cause?: unknown,
): AlcoveError<'SnapshotCorrupt'> {
  return new AlcoveError('SnapshotCorrupt', `snapshot ${ref} is damaged: ${file} ${what}`, {
    cause,
    details: { ref, file, path: join(dir, file) },
  });
}
