import type { BigIntStats } from 'node:fs';
import { systemClock } from '../host/index.ts';
import { type Seal, sealOf } from '../store/index.ts';

/**
 * Of a snapshot's files, by name. One that is missing here is to be read, and so is one whose seal is a text, as Alcove wrote it
 * once: that holds for no file.
 */
export type Seals = Readonly<Record<string, Seal | undefined>>;

/**
 * Linux stamps files with the time of its last tick: up to 10 ms old (HZ=100). A change that comes that soon after the one before
 * leaves the time as it was, so the seal of a file that has just been written proves nothing.
 */
const coarsestTickNs = 20_000_000n;

/** The seal of a file, from what was seen of it before its bytes were read or known; `undefined` when it was written just then. */
export function settledSealOf(stats: BigIntStats, seenAtMs: number): Seal | undefined {
  const ageNs = BigInt(Math.floor(seenAtMs)) * 1_000_000n - stats.mtimeNs;
  // A time ahead of the clock will be reached by it, and then stamp another change alike.
  return ageNs < coarsestTickNs ? undefined : sealOf(stats);
}

/** Now, as the file system stamps files: the host's time, whatever clock an engine was given. */
export function fileTimeMs(): number {
  return systemClock.now();
}
