import { join } from 'node:path';
import { type RuntimeContext, vmDir } from '../runtime-context.ts';
import { removeSnapshotDir } from '../snapshot-files.ts';
import { removeVmDir, straySnapshotDirs, strayVmDirs } from '../strays.ts';
import type { Garbage } from './garbage.ts';

const why = 'no record knows it';

/** Directories of VMs and snapshots that have no row, and that no call under way is making. */
export async function unknownDirectories(context: RuntimeContext): Promise<Garbage[]> {
  const vms = (await strayVmDirs(context)).filter((id) => !isBeingMade(context, id));
  const snapshots = (await straySnapshotDirs(context)).filter((uid) => !isBeingTaken(context, uid));
  return [
    ...vms.map((id) => unknownVm(context, id)),
    ...snapshots.map((uid) => unknownSnapshot(context, uid)),
  ];
}

function unknownVm(context: RuntimeContext, id: string): Garbage {
  return {
    kind: 'vm directory',
    name: id,
    why,
    paths: [vmDir(context, id)],
    // In its lane: nobody makes a VM of that id meanwhile.
    remove: () =>
      context.lanes.run(
        id,
        `removing what is left of VM ${id}`,
        async () => {
          const record = context.vms.find(id);
          if ((record && record.status !== 'destroyed') || isBeingMade(context, id))
            return { stays: 'there is a VM of that id by now' };
          await removeVmDir(context, id);
          return 'removed' as const;
        },
        undefined,
      ),
  };
}

function unknownSnapshot(context: RuntimeContext, uid: string): Garbage {
  const { snapshotsDir } = context.places;
  const dir = join(snapshotsDir, uid);
  return {
    kind: 'snapshot directory',
    name: uid,
    why,
    paths: [dir],
    // Uids are never used twice: what has no row and no intent now gets none.
    remove: async () => {
      await removeSnapshotDir(dir, snapshotsDir);
      return 'removed';
    },
  };
}

/** An intent stands from before its directory is there until its row is. */
function isBeingMade(context: RuntimeContext, vmId: string): boolean {
  return context.journal.entriesOf(vmId).length > 0;
}

function isBeingTaken(context: RuntimeContext, uid: string): boolean {
  if (context.snapshots.byUid(uid)) return true; // Since it was looked for.
  return context.journal.entries().some(({ snapshotUid }) => snapshotUid === uid);
}
