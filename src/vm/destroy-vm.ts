import { rm } from 'node:fs/promises';
import { storageError, syncPath } from '../store/index.ts';
import type { BackendCallOptions, BackendVm } from './backend.ts';
import { recordTruth } from './change-status.ts';
import type { JournalEntry } from './journal.ts';
import { removeUnneededSnapshots } from './remove-snapshot.ts';
import { attach, beginJournal, type RuntimeContext, snapshotDir, vmDir } from './runtime-context.ts';
import { removeSnapshotDir } from './snapshot-files.ts';
import { statusAfter, vmNotFound } from './transitions.ts';
import type { VmRecord } from './vm-records.ts';

/**
 * Ends a VM and removes what it had; its snapshots stay. Works from every state, after a failed call too, and cannot be
 * cancelled once it has begun. One that fails once the machine is ended stays intended: nobody knows what is left of the disk, so
 * the next call on the VM, of whatever kind, or the next opening finishes it.
 */
export async function destroyVm(
  context: RuntimeContext,
  id: string,
  options: BackendCallOptions,
): Promise<void> {
  await context.lanes.run(
    id,
    `destroy of VM ${id}`,
    async () => {
      const record = context.vms.find(id);
      statusAfter(id, record?.status, 'destroy');
      if (!record) throw vmNotFound(id);
      const unfinished = context.journal.entriesOf(id);
      const seq = await beginJournal(context, { op: 'destroy', vmId: id });
      let revocable: number | undefined = seq; // Until files go: then there is no way back.
      try {
        await endMachine(context, record);
        revocable = undefined;
        await removeFiles(context, record, [...unfinished, { seq, op: 'destroy', vmId: id }]);
      } catch (error) {
        await recordTruth(context, id, revocable, context.machines.of(id).vm, error);
        throw error;
      }
    },
    options.signal,
  );
  await removeUnneededSnapshots(context);
}

/** The physical work of destroying, and its record. Repeatable: a destroy that was cut short is finished by doing it again. */
export async function removeVm(
  context: RuntimeContext,
  record: VmRecord,
  unfinished: readonly JournalEntry[],
): Promise<void> {
  await endMachine(context, record);
  await removeFiles(context, record, unfinished);
}

async function removeFiles(
  context: RuntimeContext,
  record: VmRecord,
  unfinished: readonly JournalEntry[],
): Promise<void> {
  const { id } = record;
  const dir = vmDir(context, id);
  await context.at('destroy.ended');
  try {
    await rm(dir, { recursive: true, force: true });
    await syncPath(context.places.vmsDir);
  } catch (error) {
    throw storageError(dir, error);
  }
  await removeHalfMadeSnapshots(context, unfinished);
  await context.at('destroy.removed');
  context.database.transact(() => {
    context.vms.setStatus(id, 'destroyed', undefined, context.clock.now());
    context.vms.setHandle(id, undefined);
    for (const { seq } of unfinished) context.journal.end(seq);
  });
  context.admission.releaseVm(id);
  context.machines.forget(id, vmNotFound(id));
  await context.at('destroy.committed');
}

async function endMachine(context: RuntimeContext, record: VmRecord): Promise<void> {
  let vm: BackendVm;
  try {
    ({ vm } = await attach(context, record));
  } catch {
    // What cannot be found again can still be ended: `reap` needs nothing but its name.
    await context.backends.named(record.backend).reap({ id: record.id, dir: vmDir(context, record.id) });
    return;
  }
  await vm.destroy();
}

/** Removes the files of snapshots that were being made and have no row. Returns how many there were. */
export async function removeHalfMadeSnapshots(
  context: RuntimeContext,
  entries: readonly JournalEntry[],
): Promise<number> {
  let removed = 0;
  for (const { op, snapshotUid } of entries) {
    if (op !== 'snapshot' || snapshotUid === undefined || context.snapshots.byUid(snapshotUid)) continue;
    await removeSnapshotDir(snapshotDir(context, snapshotUid), context.places.snapshotsDir);
    removed++;
  }
  return removed;
}
