import { lstat } from 'node:fs/promises';

/**
 * What tells that a file is still the one that was digested, without reading it. Strings where a number would lose digits; fit
 * for JSON.
 */
export interface Seal {
  sizeBytes: number;
  ino: string;
  /** Nanoseconds since the epoch. */
  mtimeNs: string;
}

/**
 * The seal of a file as it is now: to be taken *before* the file is digested, so that a change meanwhile breaks it.
 *
 * Why it is enough: "a restore maps memory and does not read it all" and "a flipped bit is refused" both hold when a file is
 * digested once, and again whenever its seal is broken. Whoever writes to a file changes its mtime, and a QEMU that has dropped
 * to its own user cannot set it back: utimensat(2) with a time of one's choice takes the owner of the file or `CAP_FOWNER`.
 * The time of the last change of the inode (ctime) would be harder to forge, but every hard link changes it. Not seen are bits
 * that the medium flips by itself.
 */
export async function sealOf(path: string): Promise<Seal> {
  const { size, ino, mtimeNs } = await lstat(path, { bigint: true });
  return { sizeBytes: Number(size), ino: String(ino), mtimeNs: String(mtimeNs) };
}

/** Whether a file is still the one that was sealed. `false` when it is gone. */
export async function isSealed(path: string, seal: Seal): Promise<boolean> {
  try {
    const now = await sealOf(path);
    return now.sizeBytes === seal.sizeBytes && now.ino === seal.ino && now.mtimeNs === seal.mtimeNs;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
