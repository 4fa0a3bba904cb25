import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Durability } from '../../store/index.ts';
import type { SnapshotManifest } from '../../vm/backend.ts';
import { exportLayers, makeTop, removeTop, topIsEmpty, withNewTop } from './disk-layers.ts';
import type { Machine } from './machine.ts';
import { layerNode, layerNodes } from './machine-args.ts';
import { linkReadable, linkTop } from './machine-drives.ts';
import { indexOf, maxDiskLayers, mergeDiskLayers } from './merge-disk.ts';
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

/**
 * Makes one layer of a disk's frozen ones when they have become many. A running machine changes to it without standing still; should the
 * engine die before, it goes on with the old ones, which read the same.
 */
export async function boundLayers(
  owner: DiskOwner,
  machine: Machine | undefined,
  qemuImg: string,
  signal?: AbortSignal,
): Promise<void> {
  const { disk, places } = owner;
  if (disk.layers.length <= maxDiskLayers) return;
  const merged = await mergeDiskLayers(places.disk, disk, qemuImg, signal);
  if (machine) await changeLayers(machine, places.disk, merged);
  await owner.setDisk(merged);
  for (const { file } of disk.layers) await rm(join(places.disk, file), { force: true });
}

/** Puts a machine's top on another lower layer, equal to those that it is on. */
async function changeLayers({ places, qmp }: Machine, diskDir: string, merged: DiskRecord): Promise<void> {
  const [layer] = merged.layers;
  if (!layer) return;
  const index = indexOf(layer);
  await linkReadable(join(diskDir, layer.file), join(places.jail, layer.file));
  for (const node of layerNodes(index, null, 'read-only')) await qmp.execute('blockdev-add', { ...node });
  const [, top] = layerNodes(merged.top, layerNode(index), 'writable');
  await qmp.execute('blockdev-reopen', { options: [top] });
}

/** Puts the frozen layers into the snapshot's directory; the digests that this brings are kept for the next time. */
export async function exportSnapshot(
  owner: DiskOwner,
  dir: string,
  options: { durability?: Durability | undefined; signal?: AbortSignal | undefined },
): Promise<SnapshotManifest['files']> {
  const { layers, files } = await exportLayers(owner.places.disk, owner.disk, dir, options);
  await owner.setDisk({ ...owner.disk, layers });
  return files;
}
