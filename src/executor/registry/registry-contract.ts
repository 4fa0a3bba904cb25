import type { SnapshotRef } from '../../vm/index.ts';
import type { StoredInputs } from '../keys/inputs.ts';
import type { CacheEntry, CacheLimits, GoneReason, KeyHistory, NewEntry } from './entry.ts';

/**
 * The durable map from cache key to snapshot. Every method but the readers is one transaction. Order is by a sequence that only
 * grows, never by a clock. Nothing here touches a snapshot: what lost its entry is returned, and the caller lets it go.
 *
 * An entry is *pinned*, and not evicted, while its snapshot is the parent of another entry's, is leased, or `isPinned` says so.
 */
export interface RegistryContract {
  readonly limits: CacheLimits;
  /** Finds a key and makes it the most recently used, unless it is older than `maxAgeMs` or its age is not known (a clock that was set back). */
  get(
    key: string,
    options: { nowMs: number; maxAgeMs?: number },
  ): { entry: CacheEntry; expired: boolean } | undefined;
  /** As {@link get}, and changes nothing. */
  peek(key: string): CacheEntry | undefined;
  /**
   * Stores an entry over one of the same key, makes it the most recently used, and evicts until the limits hold again: never the new
   * one, never a pinned one. Where nothing can go, the limits are exceeded.
   *
   * @returns the snapshots that have no entry any more: evicted and replaced
   * @throws AlcoveError `InvalidInput` when another entry has that snapshot
   */
  put(entry: NewEntry, options: { nowMs: number }): SnapshotRef[];
  /** Removes an entry. Returns its snapshot. @param snapshot only if it has this one */
  invalidate(
    key: string,
    options: { reason: GoneReason; nowMs: number; detail?: string; snapshot?: SnapshotRef },
  ): SnapshotRef | undefined;
  /** Evicts what was not used for so long, and what is over the limits. `dryRun` only says what would go. */
  evict(options: { nowMs: number; unusedForMs?: number; dryRun?: true }): CacheEntry[];
  /** Notes of a key that its last run failed. */
  recordFailure(key: string, options: { nowMs: number; detail: string }): void;
  history(key: string): KeyHistory | undefined;
  bySnapshot(snapshot: SnapshotRef): CacheEntry | undefined;
  /** Most recently used first. @param after a key of the page before @param prefix of keys */
  list(options?: { limit?: number; after?: string; prefix?: string }): CacheEntry[];
  /** All, in no order, one at a time. */
  snapshots(): Iterable<{ key: string; snapshot: SnapshotRef }>;
  totals(): { entries: number; bytes: number; pinnedByChildren: number };
  output(key: string): Uint8Array | undefined;
  inputs(key: string): StoredInputs | undefined;
  /**
   * Entries worth comparing with inputs that have none: the latest of the same name, the same command, the same source, and of all; at
   * most `limit` of each. Their trees come without entries: {@link inputs} has them.
   */
  candidates(
    of: { name?: string; inputs: StoredInputs },
    limit: number,
  ): { entry: CacheEntry; inputs: StoredInputs }[];
  /** Keeps an entry of this snapshot from being evicted until disposed; one that has none yet, too. */
  lease(snapshot: SnapshotRef): Disposable;
}

export interface RegistryOptions {
  limits: CacheLimits;
  /** Asked of entries that would be evicted. */
  isPinned: (snapshot: SnapshotRef) => boolean;
  /** So many keys without an entry are remembered with the reason. @default 10 000 */
  maxHistory?: number;
}
