import { AlcoveError } from '../errors.ts';
import { storageError } from '../store/index.ts';
import { snapshotRef } from './ids.ts';
import { type RuntimeContext, snapshotDir } from './runtime-context.ts';
import { removeSnapshotDir } from './snapshot-files.ts';
import type { SnapshotRecord } from './snapshot-records.ts';
import { findSnapshot } from './snapshot-source.ts';
import type { SnapshotRef } from './vm.ts';

/**
 * Removes a snapshot that nothing needs.
 *
 * @throws AlcoveError `SnapshotNotFound`, `SnapshotInUse`, `InvalidInput`
 */
export async function removeSnapshot(context: RuntimeContext, ref: SnapshotRef): Promise<void> {
  await context.spares.letGo(findSnapshot(context, ref).uid);
  const record = findSnapshot(context, ref);
  const needers = neededBy(context, record);
  if (needers.length > 0) {
    throw new AlcoveError('SnapshotInUse', `snapshot ${ref} is needed by ${needers.join(', ')}`, {
      details: { ref, neededBy: needers },
    });
  }
  await removeRecord(context, record);
  await removeUnneededSnapshots(context);
}

/**
 * Lets go of a snapshot that was kept: it goes when nothing needs it any more, at once when nothing does.
 *
 * @throws AlcoveError `SnapshotNotFound`, `InvalidInput`
 */
export async function releaseSnapshot(context: RuntimeContext, ref: SnapshotRef): Promise<void> {
  const { uid } = findSnapshot(context, ref);
  context.snapshots.setLifetime(uid, 'ephemeral');
  await context.spares.letGo(uid);
  await removeUnneededSnapshots(context);
}

/** Removes what is kept only as long as something needs it: snapshots that forks and imports made. */
export async function removeUnneededSnapshots(context: RuntimeContext): Promise<void> {
  for (const record of context.snapshots.ephemeral()) {
    // Looked up again: another call may have removed it meanwhile.
    if (!context.snapshots.byUid(record.uid) || neededBy(context, record).length > 0) continue;
    try {
      await removeRecord(context, record);
    } catch (error) {
      context.warn(`could not remove the files of ${record.vmId}/${record.id}: ${(error as Error).message}`);
    }
  }
}

/** What would break without a snapshot, in words for people: snapshots that build on it, VMs made from it, calls that use it now. */
export function neededBy(context: RuntimeContext, record: SnapshotRecord): string[] {
  const needers = context.snapshots
    .dependants(record.uid)
    .map((dependant) => `snapshot ${snapshotRef(dependant.vmId, dependant.id)}`);
  needers.push(...context.vms.usersOfSnapshot(record.uid).map((id) => `VM ${id}`));
  if (context.pins.has(record.uid)) needers.push('a call that is under way');
  return needers;
}

/** The row goes first, with the intent: what is listed can be restored. No `await` may stand between the check and that. */
export async function removeRecord(context: RuntimeContext, record: SnapshotRecord): Promise<void> {
  const seq = context.database.transact(() => {
    context.snapshots.delete(record);
    context.vms.relinkLines(record.uid, record.parentUid);
    return context.journal.begin(
      { op: 'remove-snapshot', vmId: record.vmId, snapshotUid: record.uid },
      context.clock.now(),
    );
  });
  await context.at('remove-snapshot.journalled');
  await context.spares.forget(record.uid);
  const dir = snapshotDir(context, record.uid);
  try {
    await removeSnapshotDir(dir, context.places.snapshotsDir);
  } catch (error) {
    throw storageError(dir, error); // The intent stays: the next start removes them.
  }
  await context.at('remove-snapshot.removed');
  context.journal.end(seq);
  await context.at('remove-snapshot.committed');
}
