import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError } from '../errors.ts';
import { syncPath, writeFileDurably } from '../store/index.ts';
import type { SnapshotManifest } from './backend.ts';

/** The file beside a snapshot's own ones that says what they are. */
export const manifestName = 'manifest.json';

export async function makeSnapshotDir(dir: string): Promise<void> {
  await mkdir(dir, { mode: 0o700 });
}

/** Makes a captured snapshot survive power loss; the manifest comes last, so that one without it is known to be half-made. */
export async function sealSnapshot(
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

/**
 * Looks whether every file of a snapshot is there with its size. Cheap; digests are the backend's to check when it reads.
 *
 * @throws AlcoveError `SnapshotCorrupt`
 */
export async function checkSnapshotFiles(
  dir: string,
  manifest: SnapshotManifest,
  ref: string,
): Promise<void> {
  for (const [name, { sizeBytes }] of Object.entries(manifest.files)) {
    const found = await stat(join(dir, name)).catch((error: NodeJS.ErrnoException) => {
      throw corrupt(ref, `${name} cannot be read: ${error.code}`, error);
    });
    if (found.size !== sizeBytes)
      throw corrupt(ref, `${name} has ${found.size} bytes instead of ${sizeBytes}`);
  }
}

function corrupt(ref: string, what: string, cause?: unknown): AlcoveError<'SnapshotCorrupt'> {
  return new AlcoveError('SnapshotCorrupt', `snapshot ${ref} is damaged: ${what}`, {
    cause,
    details: { ref },
  });
}
