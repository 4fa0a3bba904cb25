import { createHash } from 'node:crypto';

/** A block of user ids that QEMU processes of a root engine run as, one per VM. */
export interface UidRange {
  base: number;
  count: number;
}

/**
 * systemd's UIDS-GIDS document leaves 0x70000000–0x7FFFFFFF to nobody, but for "foreign" ids from 0x7FFE0000 on. So many, that
 * two VMs of one host hardly ever share one, also across state directories.
 */
const preferred: UidRange = { base: 0x70000000, count: 0x0e000000 };
/** Below this, ids may belong to people and services. */
const firstFree = 10_000;
/** Fewer would make VMs share ids. */
const fewest = 4096;

/**
 * Where in the ids of this user namespace VMs' users may lie.
 *
 * @param uidMap content of `/proc/self/uid_map` (user_namespaces(7)): first id here, first id outside, count
 * @returns `undefined` when the namespace has too few ids, as in a container with one user
 */
export function uidRange(uidMap: string): UidRange | undefined {
  const spans = uidMap
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .map(([first = 0, , count = 0]) => ({ first, end: first + count }));
  if (spans.some(({ first, end }) => first <= preferred.base && preferred.base + preferred.count <= end))
    return preferred;
  const widest = spans
    // The last 1,000 of 65,536 hold `nobody` and systemd's dynamic users.
    .map(({ first, end }) => ({ base: Math.max(first, firstFree), end: Math.min(end, 60_000) }))
    .map(({ base, end }) => ({ base, count: end - base }))
    .sort((a, b) => b.count - a.count)[0];
  return widest && widest.count >= fewest ? widest : undefined;
}

/** The id for a VM: follows from its name, moved on past those in use. */
export function chooseUid(range: UidRange, name: string, inUse: ReadonlySet<number>): number {
  const start = createHash('sha256').update(name).digest().readUInt32BE(0) % range.count;
  for (let step = 0; step < range.count; step++) {
    const uid = range.base + ((start + step) % range.count);
    if (!inUse.has(uid)) return uid;
  }
  return range.base + start;
}
