import { chmod, chown, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import {
  type Durability,
  digestFile,
  type FileDigest,
  linkOrCopy,
  storageError,
  syncPath,
} from '../../store/index.ts';
import type { SnapshotManifest } from '../../vm/backend.ts';
import { layerFile } from './machine-args.ts';
import { nextIndex } from './merge-disk.ts';
import { inspectQcow2, writeEmptyQcow2 } from './qcow2.ts';
import type { DiskRecord, LayerRecord } from './vm-record.ts';

/**
 * A VM's disk is a chain of qcow2 layers: a blank file system, what earlier snapshots froze, and the one layer that is written.
 * The files below the top never change and are hard links, shared with snapshots and other VMs: nothing is copied, every VM
 * and every snapshot is whole in its own directory, and removing one takes nothing from another.
 *
 * Reads go down the chain, and QEMU opens every layer, so a long one is made short (`merge-disk.ts`).
 */

/** A disk over layers that lie elsewhere, with an empty top. The names of the files in `dir` are numbers. */
export async function makeDisk(
  dir: string,
  below: readonly { path: string; digest: LayerRecord['digest'] }[],
  virtualBytes: number,
  content: DiskRecord['content'],
): Promise<DiskRecord> {
  const layers: LayerRecord[] = [];
  for (const [index, { path, digest }] of below.entries()) {
    await linkOrCopy(path, join(dir, layerFile(index)));
    layers.push({ file: layerFile(index), digest });
  }
  const disk: DiskRecord = { virtualBytes, layers, top: below.length, content };
  await makeTop(dir, disk, undefined);
  return disk;
}

/** The same disk with its top made a lower layer, below a new empty one. */
export function withNewTop(disk: DiskRecord): DiskRecord {
  return {
    ...disk,
    layers: [...disk.layers, { file: layerFile(disk.top), digest: null }],
    top: nextIndex(disk),
  };
}

/** Makes the (empty) file of the disk's top. One that a crash left there is replaced. */
export async function makeTop(dir: string, disk: DiskRecord, owner: number | undefined): Promise<void> {
  const path = join(dir, layerFile(disk.top));
  try {
    await rm(path, { force: true });
    await writeEmptyQcow2(path, disk.virtualBytes);
    if (owner !== undefined) await chown(path, owner, owner);
    await syncPath(dir);
  } catch (error) {
    throw storageError(path, error);
  }
}

export async function removeTop(dir: string, disk: DiskRecord): Promise<void> {
  await rm(join(dir, layerFile(disk.top)), { force: true });
}

/** Makes sure that no layer leads QEMU anywhere else. @throws AlcoveError `SnapshotCorrupt` */
export async function checkLayers(dir: string, disk: DiskRecord): Promise<void> {
  const files = [...disk.layers.map(({ file }) => file), layerFile(disk.top)];
  const found = await Promise.all(files.map((file) => inspectQcow2(join(dir, file))));
  if (found.some(({ virtualBytes }) => virtualBytes !== disk.virtualBytes))
    throw new AlcoveError('SnapshotCorrupt', `the layers of the disk in ${dir} differ in size`);
}

/** Whether nothing was written since the top was made. Only of a machine that is off. */
export async function topIsEmpty(dir: string, disk: DiskRecord): Promise<boolean> {
  const info = await inspectQcow2(join(dir, layerFile(disk.top)));
  return info.empty;
}

/**
 * Puts the layers below the top into a snapshot's directory, lowest first as `0.qcow2`, `1.qcow2`, …, and digests and syncs
 * those that were not yet.
 *
 * @param options.durability with `process` those are digested alone, and the record says nothing of it
 * @returns the layers with their digests, for the record, and what the manifest says of them
 */
export async function exportLayers(
  diskDir: string,
  disk: DiskRecord,
  dir: string,
  { durability, signal }: { durability?: Durability | undefined; signal?: AbortSignal | undefined } = {},
): Promise<{ layers: LayerRecord[]; files: SnapshotManifest['files'] }> {
  const layers: LayerRecord[] = [];
  const files: Record<string, FileDigest> = {};
  for (const [index, layer] of disk.layers.entries()) {
    const from = join(diskDir, layer.file);
    const isSealed = layer.digest !== null || durability !== 'process';
    const digest = layer.digest ?? (await sealLayer(from, isSealed ? 'machine' : 'process', signal));
    const name = layerFile(index);
    await linkOrCopy(from, join(dir, name));
    layers.push(isSealed ? { ...layer, digest } : layer);
    files[name] = digest;
  }
  if (durability !== 'process') await syncPath(dir);
  return { layers, files };
}

/** Takes a layer from whoever wrote it, digests it and, where that is wanted, makes its bytes durable. */
async function sealLayer(path: string, durability: Durability, signal?: AbortSignal): Promise<FileDigest> {
  if (process.getuid?.() === 0) await chown(path, 0, 0);
  await chmod(path, 0o444);
  if (durability === 'machine') await syncPath(path);
  return digestFile(path, signal);
}

/** The layers a snapshot's manifest lists, lowest first, each looked at. @throws AlcoveError `SnapshotCorrupt` */
export async function snapshotLayers(
  dir: string,
  files: SnapshotManifest['files'],
): Promise<{ path: string; digest: LayerRecord['digest'] }[]> {
  const unknown = Object.keys(files).find((name) => !/^(\d+\.(qcow2|pages)|device\.state)$/.test(name));
  if (unknown !== undefined)
    throw new AlcoveError(
      'SnapshotCorrupt',
      `the snapshot in ${dir} lists ${unknown}, which no snapshot has`,
    );
  const layers: { path: string; digest: FileDigest }[] = [];
  for (let digest = files[layerFile(0)]; digest; digest = files[layerFile(layers.length)]) {
    const path = join(dir, layerFile(layers.length));
    const size = await sizeOf(path);
    if (size !== digest.sizeBytes)
      throw new AlcoveError(
        'SnapshotCorrupt',
        `the snapshot file ${path} is ${describeSize(size, digest.sizeBytes)}`,
      );
    layers.push({ path, digest });
  }
  if (layers.length === 0) throw new AlcoveError('SnapshotCorrupt', `the snapshot in ${dir} lists no layer`);
  return layers;
}

function describeSize(found: number | undefined, expected: number): string {
  return found === undefined ? 'missing' : `${found} bytes long instead of ${expected}`;
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch {
    return undefined;
  }
}
