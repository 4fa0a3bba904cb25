import { AlcoveError } from '../../errors.ts';
import type { SnapshotManifest } from '../../vm/backend.ts';
import { exportLayers, makeTop, maxLayers, removeTop, topIsEmpty, withNewTop } from './disk-layers.ts';
import type { Machine } from './machine.ts';
import { layerNode, layerNodes } from './machine-args.ts';
import { linkTop } from './machine-drives.ts';
import { readRunRecord } from './run-record.ts';
import type { VmPlaces } from './vm-places.ts';
import type { DiskRecord } from './vm-record.ts';

/** A VM's disk as the snapshot code needs it. */
export interface DiskOwner {
  readonly places: VmPlaces;
  readonly disk: DiskRecord;
  /** Makes another description of the disk durable, and this object's. */
  setDisk(disk: DiskRecord): Promise<void>;
}

/** Freezes the disk of a machine that is off: its top becomes a lower layer, unless nothing was written to it. */
export async function freezeDiskOff(owner: DiskOwner): Promise<void> {
  const { disk, places } = owner;
  if (await topIsEmpty(places.disk, disk)) return;
  assertDepth(owner);
  const next = withNewTop(disk);
  await makeTop(places.disk, next, undefined);
  await owner.setDisk(next);
}

/** A new top that a running machine is about to change to. */
export interface PreparedDiskFreeze {
  /** Changes to it, in under a millisecond; what was written until now never changes again. */
  freeze(): Promise<void>;
  /** Takes it away again, when the machine did not change to it. */
  undo(): Promise<void>;
}

/**
 * Makes a new top beside a running guest, so that the guest has to stand still only while QEMU changes from one open file to the
 * other.
 *
 * The new chain is made durable first. Should everything die before the change, a new top that is empty reads
 * the same as none.
 */
export async function prepareDiskFreeze(owner: DiskOwner, machine: Machine): Promise<PreparedDiskFreeze> {
  const { disk, places } = owner;
  const { qmp, places: machinePlaces } = machine;
  assertDepth(owner);
  const next = withNewTop(disk);
  const undo = () => undoTop(owner, disk, next, machine);
  await makeTop(places.disk, next, readRunRecord(machinePlaces.runPath)?.uid ?? undefined);
  await owner.setDisk(next);
  try {
    await linkTop(machinePlaces.jail, places.disk, next);
    for (const node of layerNodes(next.top, null, 'writable')) await qmp.execute('blockdev-add', { ...node });
  } catch (error) {
    await undo();
    throw error;
  }
  return {
    async freeze() {
      await qmp.execute('blockdev-snapshot', { node: layerNode(disk.top), overlay: layerNode(next.top) });
    },
    undo,
  };
}

/** Takes a new top away again that QEMU did not change to; one that it did change to stays, and is as good. */
async function undoTop(
  owner: DiskOwner,
  before: DiskRecord,
  next: DiskRecord,
  { places, qmp }: Machine,
): Promise<void> {
  const name = layerNode(next.top);
  try {
    await qmp.execute('blockdev-del', { 'node-name': name });
    await qmp.execute('blockdev-del', { 'node-name': `${name}-file` });
  } catch {
    return; // In use, or QEMU is gone: what is on record is true then, or reads the same.
  }
  await owner.setDisk(before);
  await removeTop(places.jail, next);
  await removeTop(owner.places.disk, next);
}

/** Puts the frozen layers into the snapshot's directory; the digests that this brings are kept for the next time. */
export async function exportSnapshot(
  owner: DiskOwner,
  dir: string,
  signal?: AbortSignal,
): Promise<SnapshotManifest['files']> {
  const { layers, files } = await exportLayers(owner.places.disk, owner.disk, dir, signal);
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
