import { AlcoveError } from '../errors.ts';
import type { SnapshotSource } from './backend.ts';
import { parseSnapshotRef } from './ids.ts';
import { type RuntimeContext, snapshotDir } from './runtime-context.ts';
import type { SnapshotRecord } from './snapshot-records.ts';

/** @throws AlcoveError `SnapshotNotFound`, `InvalidInput` */
export function findSnapshot(context: RuntimeContext, ref: string): SnapshotRecord {
  const { vmId, id } = parseSnapshotRef(ref);
  const record = context.snapshots.find(vmId, id);
  if (record && record.lifetime !== 'lost') return record;
  throw new AlcoveError('SnapshotNotFound', `there is no snapshot ${ref}`, { details: { ref } });
}

/** Finds a snapshot and keeps it from being removed while `work` uses it. */
export async function usingSnapshot<T>(
  context: RuntimeContext,
  ref: string,
  work: (record: SnapshotRecord) => Promise<T>,
): Promise<T> {
  const record = findSnapshot(context, ref);
  using _held = context.pins.hold(record.uid);
  return await work(record);
}

/** A snapshot with the ancestors whose files it builds on, newest first. */
export function sourceOf(context: RuntimeContext, record: SnapshotRecord): SnapshotSource {
  const ancestors: { dir: string; manifest: SnapshotRecord['manifest'] }[] = [];
  let current = record;
  while (current.manifest.needsParent) {
    const parent = current.parentUid === undefined ? undefined : context.snapshots.byUid(current.parentUid);
    if (!parent) {
      throw new AlcoveError(
        'SnapshotCorrupt',
        `snapshot ${current.vmId}/${current.id} builds on one that is gone`,
        { details: { uid: current.uid } },
      );
    }
    ancestors.push({ dir: snapshotDir(context, parent.uid), manifest: parent.manifest });
    current = parent;
  }
  return { dir: snapshotDir(context, record.uid), manifest: record.manifest, ancestors };
}
