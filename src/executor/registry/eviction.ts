import type { SnapshotRef } from '../../vm/index.ts';
import type { CacheEntry, CacheLimits } from './entry.ts';
import type { EntryTable, StoredEntry, Totals } from './entry-table.ts';

export interface Eviction {
  limits: CacheLimits;
  nowMs: number;
  /** Entries that were not used for so long go, too. */
  unusedForMs?: number;
  /** Of entries that stay, besides those that are a parent. */
  isInUse(snapshot: SnapshotRef): boolean;
}

export interface Evicted {
  entry: CacheEntry;
  /** In words. */
  why: string;
}

/**
 * Removes the least recently used entry that nothing pins, again and again, until the limits hold and none is left that was not used for so
 * long. What goes may have been the last child of its parent, which is looked at next if its turn had come before: so a chain goes from its end.
 */
export function evictFrom(table: EntryTable, eviction: Eviction): Evicted[] {
  const evicted: Evicted[] = [];
  const totals = table.totals();
  let seen = 0; // What was used last until then stays.
  let freed: StoredEntry | undefined;
  while (mayEvict(totals, eviction)) {
    const next = freed ?? table.nextLeaf(seen);
    if (!next) break;
    freed = undefined;
    seen = Math.max(seen, next.seq);
    if (eviction.isInUse(next.entry.snapshot)) continue;
    const verdict = judge(next.entry, totals, eviction);
    if (verdict === 'stop') break;
    if (verdict === 'pass over') continue;
    table.delete(next);
    totals.entries -= 1;
    totals.bytes -= next.entry.sizeBytes;
    evicted.push({ entry: next.entry, why: verdict.because });
    const parent = next.entry.parent && table.bySnapshot(next.entry.parent);
    if (parent && parent.children === 0 && parent.seq < seen) freed = parent;
  }
  return evicted;
}

function mayEvict({ entries, bytes }: Totals, { limits, unusedForMs }: Eviction): boolean {
  return entries > limits.maxEntries || bytes > limits.maxBytes || unusedForMs !== undefined;
}

/** Whether the least recently used entry goes; and where it does not, whether those used after it may. */
function judge(
  { sizeBytes, lastUsedAtMs }: CacheEntry,
  { entries, bytes }: Totals,
  { limits: { maxEntries, maxBytes, reservedBytes }, nowMs, unusedForMs }: Eviction,
): { because: string } | 'pass over' | 'stop' {
  if (entries > maxEntries) return { because: `there were more than ${maxEntries} entries` };
  if (bytes - sizeBytes < reservedBytes) return 'stop';
  if (bytes > maxBytes) return { because: `the cache took more than ${maxBytes} bytes` };
  if (unusedForMs === undefined) return 'stop';
  const unused = nowMs - lastUsedAtMs;
  if (unused < 0) return 'pass over'; // Used when the clock was ahead: nobody knows how long ago that was.
  if (unused < unusedForMs) return 'stop';
  return { because: `it was not used since ${new Date(lastUsedAtMs).toISOString()}` };
}
