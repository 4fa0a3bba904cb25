import { AlcoveError } from '../../errors.ts';
import type { GuestChannel } from '../../guest/index.ts';
import type { Clock } from '../../host/index.ts';
import type { SnapshotManifest } from '../../vm/backend.ts';
import { exportLayers, makeTop, maxLayers, removeTop, topIsEmpty, withNewTop } from './disk-layers.ts';
import type { Machine } from './machine.ts';
import { layerNode, layerNodes } from './machine-args.ts';
import type { VmPlaces } from './vm-places.ts';
import type { DiskRecord } from './vm-record.ts';

/** A VM's disk as the snapshot code needs it. */
export interface DiskOwner {
  readonly places: VmPlaces;
  readonly disk: DiskRecord;
  /** Whom the writable layer belongs to. */
  readonly uid: number | undefined;
  /** Makes another description of the disk durable, and this object's. */
  setDisk(disk: DiskRecord): Promise<void>;
}

/** How long the guest may stay frozen before it thaws by itself; a capture that took longer is thrown away. */
const freezeMs = 20_000;

/** Freezes the disk of a machine that is off: its top becomes a lower layer, unless nothing was written to it. */
export async function freezeDiskOff(owner: DiskOwner): Promise<void> {
  const { disk, places, uid } = owner;
  if (await topIsEmpty(places.jail, disk)) return;
  assertDepth(owner);
  const next = withNewTop(disk);
  await makeTop(places.jail, next, uid);
  await owner.setDisk(next);
}

/**
 * Freezes the disk of a machine that runs, at one instant: the new top is prepared beside the running guest, which then only
 * stands still, its file systems flushed, while QEMU changes from one open file to the other (under a millisecond).
 *
 * The new chain is made durable first. Should everything die before the change, a new top that is empty reads
 * the same as none.
 *
 * @param guest the guest to freeze; `undefined` of a paused machine, whose file systems were frozen before it was paused
 */
export async function freezeDiskLive(
  owner: DiskOwner,
  machine: Machine,
  guest: GuestChannel | undefined,
  clock: Clock,
): Promise<void> {
  const { disk, places, uid } = owner;
  assertDepth(owner);
  const next = withNewTop(disk);
  const overlay = layerNode(next.top);
  await makeTop(places.jail, next, uid);
  await owner.setDisk(next);
  try {
    for (const node of layerNodes(next.top, null, 'writable'))
      await machine.qmp.execute('blockdev-add', { ...node });
    const change = () => machine.qmp.execute('blockdev-snapshot', { node: layerNode(disk.top), overlay });
    await (guest ? whileFrozen(guest, clock, change) : change());
  } catch (error) {
    await undo(owner, disk, next, machine);
    throw error;
  }
}

async function whileFrozen(guest: GuestChannel, clock: Clock, work: () => Promise<unknown>): Promise<void> {
  const before = clock.monotonic();
  try {
    await guest.freeze({ maxMs: freezeMs });
    await work();
    if (clock.monotonic() - before >= freezeMs)
      throw new AlcoveError(
        'GuestUnreachable',
        'the guest did not stand still for long enough to be captured',
      );
  } finally {
    // Whatever happened, and also when it is not known whether it froze. A guest that cannot be told thaws by itself.
    await guest.thaw().catch(() => undefined);
  }
}

/** Takes a new top away again that QEMU did not change to; one that it did change to stays, and is as good. */
async function undo(owner: DiskOwner, before: DiskRecord, next: DiskRecord, machine: Machine): Promise<void> {
  const name = layerNode(next.top);
  try {
    await machine.qmp.execute('blockdev-del', { 'node-name': name });
    await machine.qmp.execute('blockdev-del', { 'node-name': `${name}-file` });
  } catch {
    return; // In use, or QEMU is gone: what is on record is true then, or reads the same.
  }
  await owner.setDisk(before);
  await removeTop(owner.places.jail, next);
}

/** Puts the frozen layers into the snapshot's directory; the digests that this brings are kept for the next time. */
export async function exportSnapshot(
  owner: DiskOwner,
  dir: string,
  signal?: AbortSignal,
): Promise<SnapshotManifest['files']> {
  const { layers, files } = await exportLayers(owner.places.jail, owner.disk, dir, signal);
  await owner.setDisk({ ...owner.disk, layers });
  return files;
}

/** Merging layers is not done yet; until then a chain that would get too long is refused rather than ever slower. */
function assertDepth({ disk, places }: DiskOwner): void {
  if (disk.layers.length < maxLayers) return;
  throw new AlcoveError(
    'Unsupported',
    `the disk of ${places.id} has ${disk.layers.length} layers, and a snapshot would add one more than are supported`,
    {
      details: { capability: `disks of more than ${maxLayers} layers` },
      remedy: 'Copy what you need into a new VM.',
    },
  );
}
