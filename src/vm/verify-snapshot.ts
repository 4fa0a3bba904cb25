import { join } from 'node:path';
import { cancelled } from '../errors.ts';
import { digestFile, type Seal, sealHolds } from '../store/index.ts';
import type { BackendCallOptions } from './backend.ts';
import { flightOptions } from './call-options.ts';
import { snapshotRef } from './ids.ts';
import { type RuntimeContext, snapshotDir } from './runtime-context.ts';
import { fileTimeMs, type Seals, settledSealOf } from './seals.ts';
import { damaged, type SnapshotFiles, statSnapshotFiles, unreadable } from './snapshot-files.ts';
import type { SnapshotRecord } from './snapshot-records.ts';
import { lineOf } from './snapshot-source.ts';

/**
 * Makes sure that every file of a snapshot, and of the ancestors it builds on, is what its manifest says. Files whose seal holds are
 * looked at and not read; the others are read whole, and sealed anew.
 *
 * @throws AlcoveError `SnapshotCorrupt`, which names the file; `Cancelled`
 */
export async function ensureIntact(
  context: RuntimeContext,
  snapshot: SnapshotRecord,
  options: BackendCallOptions,
): Promise<void> {
  for (const record of lineOf(context, snapshot)) {
    const files = filesOf(context, record);
    const seen = await statSnapshotFiles(files);
    if ([...seen].every(([name, stats]) => sealHolds(record.seals[name], stats))) continue;
    // A fork asks for the same one many times at once.
    await context.verifications.run(
      `checking snapshot ${files.ref}`,
      flightOptions(options),
      async (flight) => {
        const { signal, report: onProgress } = flight;
        const { seals } = context.snapshots.byUid(record.uid) ?? record;
        const renewed = await readFiles(files, seals, { signal, onProgress });
        context.snapshots.setSeals(record.uid, renewed);
      },
    );
  }
}

/**
 * Reads every file of a snapshot and of its ancestors, sealed or not.
 *
 * @throws AlcoveError `SnapshotCorrupt`, which names the file; `Cancelled`
 */
export async function verifySnapshot(
  context: RuntimeContext,
  snapshot: SnapshotRecord,
  options: BackendCallOptions,
): Promise<void> {
  for (const record of lineOf(context, snapshot)) {
    const seals = await readFiles(filesOf(context, record), {}, options);
    context.snapshots.setSeals(record.uid, seals);
  }
}

function filesOf(context: RuntimeContext, { uid, manifest, vmId, id }: SnapshotRecord): SnapshotFiles {
  return { dir: snapshotDir(context, uid), manifest, ref: snapshotRef(vmId, id) };
}

/** Reads the files whose seal does not hold. Returns the seals of all. */
async function readFiles(
  snapshot: SnapshotFiles,
  seals: Seals,
  { signal, onProgress }: BackendCallOptions,
): Promise<Seals> {
  const renewed: Record<string, Seal> = {};
  const seenAtMs = fileTimeMs(); // Before any is read: a change that comes later shows.
  for (const [name, stats] of await statSnapshotFiles(snapshot)) {
    const before = seals[name];
    if (before !== undefined && sealHolds(before, stats)) {
      renewed[name] = before;
      continue;
    }
    onProgress?.(`checking ${snapshot.ref}: ${name}`);
    const found = await readFile(snapshot, name, signal);
    if (found !== snapshot.manifest.files[name]?.sha256)
      throw damaged(snapshot, name, 'does not have the digest that it was recorded with');
    const seal = settledSealOf(stats, seenAtMs);
    if (seal !== undefined) renewed[name] = seal;
  }
  return renewed;
}

async function readFile(
  snapshot: SnapshotFiles,
  name: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const path = join(snapshot.dir, name);
  try {
    return (await digestFile(path, signal)).sha256;
  } catch (error) {
    if (signal?.aborted) throw cancelled(`checking snapshot ${snapshot.ref}`, signal);
    throw unreadable(snapshot, name, error as NodeJS.ErrnoException);
  }
}
