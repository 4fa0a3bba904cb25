import { AlcoveError } from '../errors.ts';
import type { SnapshotSource } from './backend.ts';
import { parseSnapshotRef, snapshotRef } from './ids.ts';
import { type RuntimeContext, snapshotDir } from './runtime-context.ts';
import { statSnapshotFiles } from './snapshot-files.ts';
import type { SnapshotRecord } from './snapshot-records.ts';

/** A snapshot's row, also of one whose files are lost. @throws AlcoveError `SnapshotNotFound`, `InvalidInput` */
export function findSnapshot(context: RuntimeContext, ref: string): SnapshotRecord {
  const { vmId, id } = parseSnapshotRef(ref);
  const record = context.snapshots.find(vmId, id);
  if (record) return record;
  throw new AlcoveError('SnapshotNotFound', `there is no snapshot ${ref}`, { details: { ref } });
}

/** Rows that are listed. @param vmId only those of the VM that has this id now; when none has it, of those that had it */
export function listedSnapshots(context: RuntimeContext, vmId?: string): SnapshotRecord[] {
  const listed = context.snapshots.all().filter(({ lifetime }) => lifetime !== 'lost');
  if (vmId === undefined) return listed;
  const vm = context.vms.find(vmId);
  return listed.filter(
    (record) => record.vmId === vmId && (vm === undefined || record.machineId === vm.machineId),
  );
}

/**
 * Finds a snapshot and keeps it from being removed while `work` uses it.
 *
 * @throws AlcoveError `SnapshotNotFound`, `SnapshotCorrupt`, `InvalidInput`
 */
export async function usingSnapshot<T>(
  context: RuntimeContext,
  ref: string,
  work: (record: SnapshotRecord) => Promise<T>,
): Promise<T> {
  const record = findSnapshot(context, ref);
  using _held = context.pins.hold(record.uid);
  await requireFiles(context, record);
  return await work(record);
}

/** Says of a snapshot that is not listed, because its files are lost, what is missing. @throws AlcoveError `SnapshotCorrupt` */
export async function requireFiles(context: RuntimeContext, record: SnapshotRecord): Promise<void> {
  const { lifetime, manifest, uid, vmId, id } = record;
  if (lifetime !== 'lost') return;
  await statSnapshotFiles({ dir: snapshotDir(context, uid), manifest, ref: snapshotRef(vmId, id) });
}

/** A snapshot and the ancestors whose files it builds on, newest first. @throws AlcoveError `SnapshotCorrupt` when one is gone */
export function lineOf(context: RuntimeContext, record: SnapshotRecord): SnapshotRecord[] {
  const line = [record];
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
    line.push(parent);
    current = parent;
  }
  return line;
}

/** What a backend restores from. @throws AlcoveError `SnapshotCorrupt` when an ancestor is gone */
export function sourceOf(context: RuntimeContext, record: SnapshotRecord): SnapshotSource {
  const placed = ({ uid, manifest }: SnapshotRecord) => ({ dir: snapshotDir(context, uid), manifest });
  const [, ...ancestors] = lineOf(context, record);
  return { ...placed(record), ancestors: ancestors.map(placed) };
}
