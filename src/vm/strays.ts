import { readdir, rm } from 'node:fs/promises';
import { syncPath } from '../store/index.ts';
import { type RuntimeContext, vmDir } from './runtime-context.ts';

/** Names of VM directories that no row knows, those included in which a call that is under way is making a VM. */
export async function strayVmDirs(context: RuntimeContext): Promise<string[]> {
  const names = await readdir(context.places.vmsDir);
  return names.filter((name) => {
    const record = context.vms.find(name);
    return !record || record.status === 'destroyed';
  });
}

/** Names of snapshot directories that no row knows, those included of snapshots that are being made. */
export async function straySnapshotDirs(context: RuntimeContext): Promise<string[]> {
  const names = await readdir(context.places.snapshotsDir);
  return names.filter((name) => !context.snapshots.byUid(name));
}

/** Ends and removes a VM that has no row, with every backend, since nobody knows whose it was. */
export async function removeVmDir(context: RuntimeContext, id: string): Promise<void> {
  const dir = vmDir(context, id);
  for (const backend of context.backends.all) await backend.reap({ id, dir });
  await rm(dir, { recursive: true, force: true });
  await syncPath(context.places.vmsDir);
}
