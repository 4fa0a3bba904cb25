import type { Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { DiskUse } from './vm.ts';

/** Size of the blocks that `st_blocks` counts, whatever the file system's own are (stat(2)). */
const blockBytes = 512;

/**
 * What files and directories take, with all below them. Nobody else uses an inode all of whose links are among them: so one look at
 * each of them is enough, however many others there are. What is gone takes nothing.
 */
export async function diskUseOf(...paths: readonly string[]): Promise<DiskUse> {
  const inodes = new Map<string, { bytes: number; otherLinks: number }>();
  for (const path of paths) {
    await walk(path, undefined, (stats) => {
      const inode = inodeOf(stats);
      const links = stats.isDirectory() ? 1 : stats.nlink; // A folder's own links are its subfolders.
      const otherLinks = (inodes.get(inode)?.otherLinks ?? links) - 1;
      inodes.set(inode, { bytes: stats.blocks * blockBytes, otherLinks });
    });
  }
  let sizeBytes = 0;
  let ownBytes = 0;
  for (const { bytes, otherLinks } of inodes.values()) {
    sizeBytes += bytes;
    if (otherLinks <= 0) ownBytes += bytes;
  }
  return { sizeBytes, ownBytes };
}

/** What a directory takes by itself, in bytes, once another is gone with which it shares files. */
export async function ownBytesWithout(path: string, other: string): Promise<number> {
  const inodes = new Map<string, { bytes: number; otherLinks: number }>();
  await walk(path, undefined, (stats) => {
    const otherLinks =
      (inodes.get(inodeOf(stats))?.otherLinks ?? (stats.isDirectory() ? 1 : stats.nlink)) - 1;
    inodes.set(inodeOf(stats), { bytes: stats.blocks * blockBytes, otherLinks });
  });
  await walk(other, undefined, (stats) => {
    const inode = inodes.get(inodeOf(stats));
    if (inode) inode.otherLinks--;
  });
  return [...inodes.values()].reduce((sum, { bytes, otherLinks }) => sum + (otherLinks <= 0 ? bytes : 0), 0);
}

/**
 * Everything below a directory by who owns it: each file and folder belongs to the owner of its own path, else to its folder's. An
 * inode with links of several owners is shared among them, and counts once in the total.
 */
export async function shareOut<Owner>(
  root: string,
  owners: ReadonlyMap<string, Owner>,
): Promise<{ uses: Map<Owner, DiskUse>; unowned: DiskUse; totalBytes: number }> {
  const inodes = new Map<string, { bytes: number; owners: Set<Owner | undefined> }>();
  const ownerOf = (path: string, above: Owner | undefined) => owners.get(path) ?? above;
  await walk<Owner | undefined>(root, undefined, (stats, path, above) => {
    const owner = ownerOf(path, above);
    const inode = inodes.get(inodeOf(stats)) ?? { bytes: stats.blocks * blockBytes, owners: new Set() };
    inode.owners.add(owner);
    inodes.set(inodeOf(stats), inode);
    return owner;
  });
  const uses = new Map<Owner | undefined, DiskUse>();
  for (const owner of [undefined, ...owners.values()]) uses.set(owner, { sizeBytes: 0, ownBytes: 0 });
  let totalBytes = 0;
  for (const { bytes, owners: users } of inodes.values()) {
    totalBytes += bytes;
    for (const user of users) {
      const use = uses.get(user);
      if (!use) continue;
      use.sizeBytes += bytes;
      if (users.size === 1) use.ownBytes += bytes;
    }
  }
  const unowned = uses.get(undefined) as DiskUse;
  uses.delete(undefined);
  return { uses: uses as Map<Owner, DiskUse>, unowned, totalBytes };
}

/** Looks at a path and all below it, links as themselves. What `look` returns is passed on to what lies in a folder. */
async function walk<Above>(
  path: string,
  above: Above,
  look: (stats: Stats, path: string, above: Above) => Above,
): Promise<void> {
  const stats = await unlessGone(lstat(path));
  if (!stats) return;
  const here = look(stats, path, above);
  if (!stats.isDirectory()) return;
  const names = (await unlessGone(readdir(path))) ?? [];
  await Promise.all(names.map((name) => walk(join(path, name), here, look)));
}

/** Files come and go while they are counted. */
async function unlessGone<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

function inodeOf({ dev, ino }: Stats): string {
  return `${dev}:${ino}`;
}
