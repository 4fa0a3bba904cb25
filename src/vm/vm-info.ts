import type { VmInfo } from './vm.ts';
import type { VmRecord } from './vm-records.ts';

/** A VM's row as it is listed. */
export function vmInfo(record: VmRecord, snapshots: string[]): VmInfo {
  const { id, status, reason, backend, image, from, shape, env, labels, createdAtMs, changedAtMs } = record;
  const { cpus, memoryMiB, diskMiB, network } = shape;
  return {
    id,
    status,
    ...(reason !== undefined && { reason }),
    backend,
    image,
    ...(from && { from: from.ref }),
    cpus,
    memoryMiB,
    diskMiB,
    network,
    env,
    labels,
    createdAtMs,
    changedAtMs,
    snapshots,
  };
}
