import type { RuntimeContext } from './runtime-context.ts';

/** Digests of the images that VMs and snapshots need, those being made included. @param gone uids of snapshots that do not count */
export function imageDigestsInUse(
  { vms, snapshots, pins }: Pick<RuntimeContext, 'vms' | 'snapshots' | 'pins'>,
  gone: ReadonlySet<string> = new Set(),
): Set<string> {
  return new Set([...vms.imageDigests(), ...snapshots.imageDigests(gone), ...pins.names()]);
}

/** Removes an image, of which machines may be waiting, or being made ahead of need. @param remove refuses when it is in use */
export async function removeImage(
  context: RuntimeContext,
  digest: string,
  remove: (inUse: ReadonlySet<string>) => Promise<void>,
): Promise<void> {
  await context.spares.letGo(digest);
  await remove(imageDigestsInUse(context));
  await context.spares.forget(digest);
}
