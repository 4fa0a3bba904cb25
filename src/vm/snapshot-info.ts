import { diskUseOf } from './disk-use.ts';
import { snapshotRef } from './ids.ts';
import { type RuntimeContext, snapshotDir } from './runtime-context.ts';
import type { SnapshotRecord } from './snapshot-records.ts';
import type { SnapshotInfo } from './vm.ts';

/** A row as it is listed. */
export async function snapshotInfo(context: RuntimeContext, record: SnapshotRecord): Promise<SnapshotInfo> {
  const { id, vmId, uid, parentUid, manifest, labels, machineId, lifetime, createdAtMs } = record;
  const parent = parentUid === undefined ? undefined : context.snapshots.byUid(parentUid);
  const vm = context.vms.find(vmId);
  const isHere = vm !== undefined && vm.status !== 'destroyed' && vm.machineId === machineId;
  return {
    id,
    vmId,
    ref: snapshotRef(vmId, id),
    vm: isHere ? 'here' : 'gone',
    kind: manifest.kind,
    ...(parent && { parent: snapshotRef(parent.vmId, parent.id) }),
    lifetime: lifetime === 'ephemeral' ? 'while needed' : 'until removed',
    imageDigest: manifest.imageDigest,
    labels,
    ...(await diskUseOf(snapshotDir(context, uid))),
    createdAtMs,
  };
}
