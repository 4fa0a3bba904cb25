import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlcoveError } from '../errors.ts';
import { snapshotRef } from './ids.ts';
import type { JournalEntry } from './journal.ts';
import { finishImports } from './portable/index.ts';
import { reconcileVm } from './reconcile-vm.ts';
import { neededBy, removeUnneededSnapshots } from './remove-snapshot.ts';
import { type RuntimeContext, snapshotDir, vmDir } from './runtime-context.ts';
import { removeSnapshotDir, statSnapshotFiles } from './snapshot-files.ts';
import { removeVmDir, straySnapshotDirs, strayVmDirs } from './strays.ts';
import type { VmRecord } from './vm-records.ts';

/** How many VMs are found again at once. */
const parallelRecoveries = 8;

/**
 * Makes rows, files and machines agree when an engine opens: adopts what runs, finishes or takes back what was cut short, and
 * removes what no row knows. A VM that cannot be found again is reported and stays as it is; it stops nobody else.
 * Stopped VMs are not looked at beyond their directory's name.
 *
 * @returns what was mended, in sentences for people; nothing after a clean end
 */
export async function recoverVms(context: RuntimeContext): Promise<string[]> {
  const records = context.vms.all();
  for (const record of records) adoptHolding(context, record);
  const entries = context.journal.entries();
  const opened = await Promise.all(context.backends.all.map((backend) => backend.open?.() ?? []));
  return [
    ...opened.flat(),
    ...(await removeHalfMadeVms(context, records, entries)),
    ...(await recoverLostVms(context, records, entries)),
    ...(await recoverActiveVms(context, entries)),
    ...(await finishSnapshotRemovals(context, entries)),
    ...(await finishImports(context, entries)),
    ...(await removeStrays(context)),
    ...(await findLostSnapshots(context)),
  ];
}

function adoptHolding(context: RuntimeContext, { id, status, shape }: VmRecord): void {
  if (status === 'destroyed') return;
  const active = status === 'running' || status === 'paused';
  context.admission.adopt(id, { diskMiB: shape.diskMiB, memoryMiB: active ? shape.memoryMiB : 0 });
}

/** VMs that were being made: they have no row, so nobody was told of them. */
async function removeHalfMadeVms(
  context: RuntimeContext,
  records: readonly VmRecord[],
  entries: readonly JournalEntry[],
): Promise<string[]> {
  const known = new Set(records.map(({ id }) => id));
  const mended: string[] = [];
  for (const { op, vmId, seq } of entries) {
    if (op !== 'create') continue;
    if (!known.has(vmId)) {
      if (!(await tryRemoveVmDir(context, vmId, mended))) continue; // The intent stays, for who makes one of this id.
      mended.push(`VM ${vmId}: removed what was there of it; it was being made when the engine ended`);
    }
    context.journal.end(seq);
  }
  return mended;
}

/** VMs whose directory is gone: there is nothing left to start. */
async function recoverLostVms(
  context: RuntimeContext,
  records: readonly VmRecord[],
  entries: readonly JournalEntry[],
): Promise<string[]> {
  const present = new Set(await readdir(context.places.vmsDir));
  const beingDestroyed = new Set(entries.filter(({ op }) => op === 'destroy').map(({ vmId }) => vmId));
  const mended: string[] = [];
  for (const { id, status, backend } of records) {
    if (status === 'destroyed' || present.has(id) || beingDestroyed.has(id)) continue;
    try {
      await context.backends.named(backend).reap({ id, dir: vmDir(context, id) });
    } catch (error) {
      mended.push(`VM ${id}: its files are gone, and it could not be ended: ${messageOf(error)}`);
      continue;
    }
    context.vms.setStatus(id, 'destroyed', 'its files were gone', context.clock.now());
    context.admission.releaseVm(id);
    mended.push(`VM ${id}: is destroyed, because its files were gone`);
  }
  return mended;
}

/** VMs that ran or were paused, and those with work that was cut short. */
async function recoverActiveVms(
  context: RuntimeContext,
  entries: readonly JournalEntry[],
): Promise<string[]> {
  const unfinished = Map.groupBy(
    entries.filter(({ op }) => op !== 'create' && op !== 'remove-snapshot' && op !== 'import'),
    ({ vmId }) => vmId,
  );
  const active = context.vms
    .all()
    .filter(({ id, status }) => status === 'running' || status === 'paused' || unfinished.has(id));
  const mended: string[][] = [];
  const waiting = active.values();
  const work = async () => {
    for (const record of waiting) {
      try {
        mended.push(await reconcileVm(context, record, unfinished.get(record.id) ?? []));
      } catch (error) {
        mended.push([`VM ${record.id}: could not be found again: ${messageOf(error)}`]);
      }
    }
  };
  await Promise.all(Array.from({ length: parallelRecoveries }, work));
  return mended.flat();
}

async function finishSnapshotRemovals(
  context: RuntimeContext,
  entries: readonly JournalEntry[],
): Promise<string[]> {
  const mended: string[] = [];
  for (const { op, seq, snapshotUid, vmId } of entries) {
    if (op !== 'remove-snapshot' || snapshotUid === undefined) continue;
    try {
      await removeSnapshotDir(snapshotDir(context, snapshotUid), context.places.snapshotsDir);
      context.journal.end(seq);
      mended.push(`VM ${vmId}: finished removing a snapshot`);
    } catch (error) {
      mended.push(`VM ${vmId}: could not finish removing a snapshot: ${messageOf(error)}`);
    }
  }
  return mended;
}

/** Directories that no row knows. */
async function removeStrays(context: RuntimeContext): Promise<string[]> {
  const { snapshotsDir } = context.places;
  const mended: string[] = [];
  for (const name of await strayVmDirs(context)) {
    if (await tryRemoveVmDir(context, name, mended))
      mended.push(`VM ${name}: removed its directory, which no record knew`);
  }
  for (const name of await straySnapshotDirs(context)) {
    try {
      await removeSnapshotDir(join(snapshotsDir, name), snapshotsDir);
      mended.push(`removed the snapshot directory ${name}, which no record knew`);
    } catch (error) {
      mended.push(`could not remove the snapshot directory ${name}: ${messageOf(error)}`);
    }
  }
  return mended;
}

/**
 * Snapshots whose files are gone or cut are no longer listed: what is listed can be restored. Nothing of them is removed here, since a
 * file system that is not mounted takes the files away for a while only; when they are back, so is the snapshot.
 */
async function findLostSnapshots(context: RuntimeContext): Promise<string[]> {
  await removeUnneededSnapshots(context);
  const mended: string[] = [];
  for (const record of context.snapshots.all()) {
    const { uid, manifest, lifetime } = record;
    const ref = snapshotRef(record.vmId, record.id);
    try {
      await statSnapshotFiles({ dir: snapshotDir(context, uid), manifest, ref });
      if (lifetime !== 'lost') continue;
      context.snapshots.setLifetime(uid, 'kept');
      mended.push(`snapshot ${ref}: is listed again, because its files are back`);
    } catch (error) {
      if (!isAlcoveError(error, 'SnapshotCorrupt')) {
        mended.push(`snapshot ${ref}: could not be looked at: ${messageOf(error)}`);
      } else if (lifetime !== 'lost') {
        context.snapshots.setLifetime(uid, 'lost');
        const needers = neededBy(context, record);
        const lacking = needers.length > 0 ? `; ${needers.join(', ')} cannot do without it` : '';
        mended.push(`${messageOf(error)}. It is listed no more${lacking}`);
      }
    }
  }
  return mended;
}

async function tryRemoveVmDir(context: RuntimeContext, id: string, mended: string[]): Promise<boolean> {
  try {
    await removeVmDir(context, id);
    return true;
  } catch (error) {
    mended.push(`VM ${id}: has no record, and could not be removed: ${messageOf(error)}`);
    return false;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
