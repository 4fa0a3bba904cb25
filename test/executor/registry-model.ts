import type { CacheEntry, CacheLimits, KeyHistory, NewEntry } from '../../src/executor/registry/entry.ts';
import type { SnapshotRef } from '../../src/vm/index.ts';

/** What is said of it: without the sentence. */
export type HistorySummary = Pick<KeyHistory, 'reason' | 'atMs'>;

/** What a registry is, in arrays and maps. */
export class RegistryModel {
  /** Least recently used first. */
  entries: CacheEntry[] = [];
  /** Oldest first. */
  readonly history = new Map<string, HistorySummary>();
  readonly leased: SnapshotRef[] = [];
  readonly pinned = new Set<SnapshotRef>();
  readonly limits: CacheLimits;
  readonly #mostHistory: number;

  constructor(limits: CacheLimits, mostHistory: number) {
    this.limits = limits;
    this.#mostHistory = mostHistory;
  }

  find(key: string): CacheEntry | undefined {
    return this.entries.find((entry) => entry.key === key);
  }

  get(key: string, nowMs: number, maxAgeMs = Number.POSITIVE_INFINITY): boolean | undefined {
    const entry = this.find(key);
    if (!entry) return undefined;
    const ageMs = nowMs - entry.createdAtMs;
    if (maxAgeMs !== Number.POSITIVE_INFINITY && (ageMs < 0 || ageMs > maxAgeMs)) return false;
    this.#drop(entry);
    this.entries.push({ ...entry, lastUsedAtMs: nowMs, hits: entry.hits + 1 });
    return true;
  }

  /** `refused`: another key has the snapshot, or it would be its own parent. */
  put({ key, snapshot, parent, sizeBytes, durationMs }: NewEntry, nowMs: number): SnapshotRef[] | 'refused' {
    if (parent === snapshot) return 'refused';
    if (this.entries.some((entry) => entry.snapshot === snapshot && entry.key !== key)) return 'refused';
    const replaced = this.find(key);
    if (replaced) this.#drop(replaced);
    this.history.delete(key);
    this.entries.push({
      key,
      snapshot,
      ...(parent !== undefined && { parent }),
      sizeBytes,
      createdAtMs: nowMs,
      lastUsedAtMs: nowMs,
      hits: 0,
      exitCode: 0,
      durationMs,
    });
    const evicted = this.evict(nowMs, undefined, snapshot).map((entry) => entry.snapshot);
    return replaced && replaced.snapshot !== snapshot ? [replaced.snapshot, ...evicted] : evicted;
  }

  invalidate(key: string, nowMs: number, snapshot?: SnapshotRef): SnapshotRef | undefined {
    const entry = this.find(key);
    if (!entry || (snapshot !== undefined && snapshot !== entry.snapshot)) return undefined;
    this.#drop(entry);
    this.record(key, { reason: 'removed', atMs: nowMs });
    return entry.snapshot;
  }

  evict(nowMs: number, unusedForMs?: number, stays?: SnapshotRef): CacheEntry[] {
    const evicted: CacheEntry[] = [];
    for (
      let next = this.#next(nowMs, unusedForMs, stays);
      next;
      next = this.#next(nowMs, unusedForMs, stays)
    ) {
      this.#drop(next);
      this.record(next.key, { reason: 'evicted', atMs: nowMs });
      evicted.push(next);
    }
    return evicted;
  }

  record(key: string, what: HistorySummary): void {
    this.history.delete(key);
    this.history.set(key, what);
    const oldest = [...this.history.keys()].slice(0, Math.max(0, this.history.size - this.#mostHistory));
    for (const each of oldest) this.history.delete(each);
  }

  copy(): RegistryModel {
    const copy = new RegistryModel(this.limits, this.#mostHistory);
    copy.entries = [...this.entries];
    for (const [key, what] of this.history) copy.history.set(key, what);
    copy.leased.push(...this.leased);
    for (const snapshot of this.pinned) copy.pinned.add(snapshot);
    return copy;
  }

  isParent(snapshot: SnapshotRef): boolean {
    return this.entries.some(({ parent }) => parent === snapshot);
  }

  view(): unknown {
    return {
      list: [...this.entries].reverse(),
      history: [...this.history].sort(),
      totals: {
        entries: this.entries.length,
        bytes: this.#bytes(),
        pinnedByChildren: this.entries.filter(({ snapshot }) => this.isParent(snapshot)).length,
      },
    };
  }

  /** The one that goes next. */
  #next(nowMs: number, unusedForMs: number | undefined, stays?: SnapshotRef): CacheEntry | undefined {
    const { maxEntries, maxBytes, reservedBytes } = this.limits;
    const may = this.entries.filter(
      ({ snapshot }) =>
        !this.isParent(snapshot) &&
        !this.leased.includes(snapshot) &&
        !this.pinned.has(snapshot) &&
        snapshot !== stays,
    );
    const [oldest] = may;
    if (this.entries.length > maxEntries) return oldest;
    const leavesEnough = (entry: CacheEntry) => this.#bytes() - entry.sizeBytes >= reservedBytes;
    if (this.#bytes() > maxBytes) return oldest && leavesEnough(oldest) ? oldest : undefined;
    if (unusedForMs === undefined) return undefined;
    const blocked = may.findIndex((entry) => !leavesEnough(entry));
    const reachable = blocked < 0 ? may : may.slice(0, blocked);
    const first = reachable.find(({ lastUsedAtMs }) => lastUsedAtMs <= nowMs);
    return first && nowMs - first.lastUsedAtMs >= unusedForMs ? first : undefined;
  }

  #bytes(): number {
    return this.entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  #drop(entry: CacheEntry): void {
    this.entries = this.entries.filter((each) => each !== entry);
  }
}
