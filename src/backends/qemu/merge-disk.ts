import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from '../../host/index.ts';
import { storageError, syncPath } from '../../store/index.ts';
import { inspectQcow2 } from './qcow2.ts';
import type { DiskRecord, LayerRecord } from './vm-record.ts';

/**
 * Layers below the top at which they are made one. QEMU opens each, and looks into each for what was never written:
 * docs/decisions/0008-snapshots-of-memory.md has what a start costs with how many.
 */
export const maxDiskLayers = 32;

/**
 * Writes one layer equal to all below the top, which nothing changes meanwhile. Some 0.5 s for each 100 MB that they hold.
 *
 * @returns the disk on that layer; the files of the others are left, for whoever still has them open
 * @throws AlcoveError `StateUnusable`, `ToolFailed`, `Cancelled`
 */
export async function mergeDiskLayers(
  diskDir: string,
  disk: DiskRecord,
  qemuImg: string,
  signal?: AbortSignal,
): Promise<DiskRecord> {
  // Not of one that an engine which died has left either: a machine may have it open.
  const left = (await readdir(diskDir)).map((name) => ({ file: name, digest: null }));
  const file = `${nextIndex({ ...disk, layers: [...disk.layers, ...left.filter(isLayer)] })}.qcow2`;
  const path = join(diskDir, file);
  const temporary = `${path}.tmp`;
  try {
    const chain = `json:${JSON.stringify(chainOf(diskDir, disk.layers))}`;
    await rm(temporary, { force: true });
    await runTool(qemuImg, ['convert', '-O', 'qcow2', chain, temporary], signal ? { signal } : {});
    await inspectQcow2(temporary);
    await syncPath(temporary);
    await rename(temporary, path);
    await syncPath(diskDir);
  } catch (error) {
    await rm(temporary, { force: true });
    throw storageError(path, error);
  }
  return { ...disk, layers: [{ file, digest: null }] };
}

/** A number that no layer of the disk has. */
export function nextIndex({ layers, top }: DiskRecord): number {
  return 1 + Math.max(top, ...layers.map(indexOf));
}

function isLayer({ file }: LayerRecord): boolean {
  return /^\d+\.qcow2$/.test(file);
}

export function indexOf({ file }: LayerRecord): number {
  return Number.parseInt(file, 10);
}

/** The layers on top of each other, in the shape of QEMU's block nodes. */
function chainOf(diskDir: string, layers: readonly LayerRecord[]): object {
  let chain: object = {};
  for (const [index, { file }] of layers.entries()) {
    const node = { driver: 'file', filename: join(diskDir, file), 'read-only': true, locking: 'off' };
    chain = { driver: 'qcow2', file: node, 'read-only': true, ...(index > 0 && { backing: chain }) };
  }
  return chain;
}
