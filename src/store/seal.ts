import type { BigIntStats } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { z } from 'zod';

export const sealSchema = z.object({ sizeBytes: z.number(), ino: z.string(), mtimeNs: z.string() });

/**
 * What tells that a file is still the one whose bytes were known, without reading it: size, inode number and time of the last change
 * of its content, in ns since the epoch. Strings where a number would lose digits; fit for JSON.
 *
 * To be taken *before* the file is digested, so that a change meanwhile breaks it.
 *
 * Why it is enough: "a restore maps memory and does not read it all" and "a flipped bit is refused" both hold when a file is
 * digested once, and again whenever its seal is broken. Whoever writes to a file changes its mtime, and a QEMU that has dropped
 * to its own user cannot set it back: utimensat(2) with a time of one's choice takes the owner of the file or `CAP_FOWNER`.
 * The time of the last change of the inode (ctime) would be harder to forge, but every hard link changes it: a layer is shared by
 * many snapshots and VMs. Not seen are bits that the medium flips by itself.
 */
export type Seal = z.infer<typeof sealSchema>;

export function sealOf({ size, ino, mtimeNs }: BigIntStats): Seal {
  return { sizeBytes: Number(size), ino: String(ino), mtimeNs: String(mtimeNs) };
}

export async function sealOfFile(path: string): Promise<Seal> {
  return sealOf(await lstat(path, { bigint: true }));
}

/** Whether what was seen of a file is what its seal says. Without a seal nothing is known: `false`. */
export function sealHolds(seal: Seal | undefined, stats: BigIntStats): boolean {
  const { sizeBytes, ino, mtimeNs } = sealOf(stats);
  return seal?.sizeBytes === sizeBytes && seal.ino === ino && seal.mtimeNs === mtimeNs;
}

/** Whether a file is still the one that was sealed. `false` when it is gone. */
export async function isSealed(path: string, seal: Seal): Promise<boolean> {
  try {
    return sealHolds(seal, await lstat(path, { bigint: true }));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
