import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { snapshotRef } from './ids.ts';
import { type RuntimeContext, snapshotDir } from './runtime-context.ts';
import { manifestName } from './snapshot-files.ts';
import type { SnapshotRecord } from './snapshot-records.ts';
import type { DiskUse, SnapshotInfo } from './vm.ts';

/** A row as it is listed. */
export async function snapshotInfo(context: RuntimeContext, record: SnapshotRecord): Promise<SnapshotInfo> {
  const { id, vmId, uid, parentUid, manifest, machineId, lifetime, createdAtMs } = record;
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
    ...(await diskUse(snapshotDir(context, uid), [...Object.keys(manifest.files), manifestName])),
    createdAtMs,
  };
}

/** Size of the blocks that `st_blocks` counts, whatever the file system's own are (stat(2)). */
export const blockBytes = 512;

/**
 * What files of one directory take. Nobody else uses an inode all of whose links are among them: so one look at each of
 * them is enough, however many snapshots and VMs there are.
 */
async function diskUse(dir: string, names: readonly string[]): Promise<DiskUse> {
  const inodes = new Map<number, { bytes: number; otherLinks: number }>();
  await Promise.all(
    names.map(async (name) => {
      const stats = await lstat(join(dir, name)).catch(() => undefined); // What is gone takes nothing.
      if (!stats) return;
      const { ino, blocks, nlink } = stats;
      const otherLinks = (inodes.get(ino)?.otherLinks ?? nlink) - 1;
      inodes.set(ino, { bytes: blocks * blockBytes, otherLinks });
    }),
  );
  const sum = (some: readonly { bytes: number }[]) => some.reduce((total, { bytes }) => total + bytes, 0);
  const all = [...inodes.values()];
  return { sizeBytes: sum(all), ownBytes: sum(all.filter(({ otherLinks }) => otherLinks === 0)) };
}
