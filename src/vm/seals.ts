import type { BigIntStats } from 'node:fs';
import { systemClock } from '../host/index.ts';

/**
 * What a file's inode said when its bytes were known to be what a manifest says: size, inode number and time of the last
 * change of its content, in ns. As long as it says so, the bytes are not read again. Links and owners may come and go:
 * a layer is shared by many snapshots and VMs, and they change the inode's other time (ctime) and its link count only.
 */
export type Seal = string;

/** Of a snapshot's files, by name. One that is missing here is to be read. */
export type Seals = Readonly<Record<string, Seal>>;

/**
 * Linux stamps files with the time of its last tick: up to 10 ms old (HZ=100). A change that comes that soon after the one before
 * leaves the time as it was, so the seal of a file that has just been written proves nothing.
 */
const coarsestTickNs = 20_000_000n;

/** The seal of a file, from what was seen of it before its bytes were read or known; `undefined` when it was written just then. */
export function sealOf(stats: BigIntStats, seenAtMs: number): Seal | undefined {
  const ageNs = BigInt(Math.floor(seenAtMs)) * 1_000_000n - stats.mtimeNs;
  // A time ahead of the clock will be reached by it, and then stamp another change alike.
  return ageNs < coarsestTickNs ? undefined : describe(stats);
}

export function sealHolds(seal: Seal | undefined, stats: BigIntStats): boolean {
  return seal === describe(stats);
}

/** Now, as the file system stamps files: the host's time, whatever clock an engine was given. */
export function fileTimeMs(): number {
  return systemClock.now();
}

function describe({ size, ino, mtimeNs }: BigIntStats): Seal {
  return `${size} ${ino} ${mtimeNs}`;
}
