import { chmod, chown, link, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { linkOrCopy, storageError } from '../../store/index.ts';
import { diskDevice, driveNames, driveNodes, imageDevice, imageFile, layerFile } from './machine-args.ts';
import type { QmpConnection } from './qmp-connection.ts';
import type { DiskRecord } from './vm-record.ts';

/** What a machine reads and writes: the VM's disk, and the image below it. */
export interface Drives {
  diskDir: string;
  disk: DiskRecord;
  imagePath: string;
}

/**
 * Gives the drives second names in a machine's jail: the VM keeps its disk in its own directory, whatever machine it runs on. The
 * layer that is written now belongs to whom the machine runs as.
 */
export async function linkDrives(
  jail: string,
  { disk, diskDir, imagePath }: Drives,
  owner: number | undefined,
): Promise<void> {
  const top = join(diskDir, layerFile(disk.top));
  try {
    await Promise.all([
      ...disk.layers.map(({ file }) => linkReadable(join(diskDir, file), join(jail, file))),
      linkReadable(imagePath, join(jail, imageFile)),
      owner === undefined ? undefined : chown(top, owner, owner),
      linkTop(jail, diskDir, disk),
    ]);
  } catch (error) {
    throw storageError(jail, error);
  }
}

/** QEMU has given up root when it opens what is put in later. The directories around are private. */
export async function linkReadable(from: string, to: string): Promise<void> {
  await rm(to, { force: true });
  await linkOrCopy(from, to);
  await chmod(to, 0o444);
}

/** Never a copy: what the machine writes is the VM's. */
export async function linkTop(jail: string, diskDir: string, { top }: DiskRecord): Promise<void> {
  await rm(join(jail, layerFile(top)), { force: true });
  await link(join(diskDir, layerFile(top)), join(jail, layerFile(top)));
}

/**
 * Puts a VM's drives in the places of those that a spare came up with, of which the guest has none mounted. Commands are sent
 * without waiting for the one before: QEMU takes them in order.
 */
export async function attachDrives(qmp: QmpConnection, disk: DiskRecord): Promise<void> {
  const names = driveNames(disk);
  const swap = (device: string, node: string) =>
    qmp.execute('qom-set', { path: `/machine/peripheral/${device}`, property: 'drive', value: node });
  await Promise.all([
    ...driveNodes(disk).map((node) => qmp.execute('blockdev-add', { ...node })),
    swap(imageDevice, names.image),
    swap(diskDevice, names.disk),
  ]);
}
