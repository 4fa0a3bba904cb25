import { AlcoveError } from '../../errors.ts';
import type { Database } from '../../store/index.ts';
import { Pins, type SnapshotRef } from '../../vm/index.ts';
import type { StoredInputs } from '../keys/inputs.ts';
import { checkBytes, checkCacheKey, checkLimits, invalid } from './check-input.ts';
import type { CacheEntry, CacheLimits, GoneReason, KeyHistory, NewEntry } from './entry.ts';
import { EntryTable, type Totals } from './entry-table.ts';
import { evictFrom } from './eviction.ts';
import { HistoryTable } from './history-table.ts';
import { InputsTable } from './inputs-table.ts';
import { cacheMigrations } from './migrations.ts';
import { OutputTable } from './output-table.ts';

export interface RegistryOptions {
  limits: CacheLimits;
  /** Asked of entries that would be evicted. */
  isPinned: (snapshot: SnapshotRef) => boolean;
  /** So many keys without an entry are remembered with the reason. @default 10 000 */
  maxHistory?: number;
}

/**
 * The durable map from cache key to snapshot. Every method but the readers is one transaction. Order is by a sequence that only
 * grows, never by a clock. Nothing here touches a snapshot: what lost its entry is returned, and the caller lets it go.
 *
 * An entry is *pinned*, and not evicted, while its snapshot is the parent of another entry's, is leased, or `isPinned` says so.
 *
 * A key is 1 to 1024 characters without control characters; all methods throw AlcoveError `InvalidInput` for another.
 */
export class Registry {
  readonly limits: CacheLimits;
  readonly #database: Database;
  readonly #entries: EntryTable;
  readonly #outputs: OutputTable;
  readonly #inputs: InputsTable;
  readonly #history: HistoryTable;
  readonly #savepoint;
  readonly #rollBack;
  readonly #release;
  readonly #leases = new Pins();
  readonly #isPinned: RegistryOptions['isPinned'];

  /** @throws AlcoveError `InvalidInput` for limits that are none, `StateCorrupt` when a newer Alcove wrote the database */
  constructor(database: Database, { limits, isPinned, maxHistory = 10_000 }: RegistryOptions) {
    this.limits = checkLimits(limits);
    this.#isPinned = isPinned;
    database.migrate('cache', cacheMigrations);
    this.#database = database;
    this.#entries = new EntryTable(database);
    this.#outputs = new OutputTable(database);
    this.#inputs = new InputsTable(database);
    this.#history = new HistoryTable(database, maxHistory);
    this.#savepoint = database.prepare('SAVEPOINT cache_dry_run');
    this.#rollBack = database.prepare('ROLLBACK TO cache_dry_run');
    this.#release = database.prepare('RELEASE cache_dry_run');
  }

  /**
   * Finds a key and makes it the most recently used, unless it has expired: it is older than `maxAgeMs`, or its age is not known, because
   * the clock was set back since it was made. Without `maxAgeMs` it does not expire.
   *
   * That it was used may be forgotten when the machine loses power.
   */
  get(
    key: string,
    { nowMs, maxAgeMs }: { nowMs: number; maxAgeMs?: number },
  ): { entry: CacheEntry; expired: boolean } | undefined {
    checkCacheKey(key);
    return this.#database.transact(
      () => {
        const found = this.#entries.byKey(key);
        if (!found) return undefined;
        if (maxAgeMs !== undefined) {
          const ageMs = nowMs - found.entry.createdAtMs;
          const expired = !(ageMs >= 0 && ageMs <= maxAgeMs);
          if (expired) return { entry: found.entry, expired };
        }
        return { entry: this.#entries.touch(found, nowMs), expired: false };
      },
      { durability: 'process' }, // An fsync takes longer than all the rest of a hit.
    );
  }

  /** The entry of a key, which stays as it is. */
  peek(key: string): CacheEntry | undefined {
    return this.#entries.byKey(checkCacheKey(key))?.entry;
  }

  /**
   * Stores an entry over one of the same key, makes it the most recently used, and evicts until the limits hold again: never the new
   * one, never a pinned one. Where nothing can go, the limits are exceeded.
   *
   * @param options.createdAtMs of one that was made elsewhere @default now
   * @returns the snapshots that have no entry any more: evicted and replaced
   * @throws AlcoveError `InvalidInput` when another entry has that snapshot
   */
  put(
    entry: NewEntry,
    { nowMs, createdAtMs = nowMs }: { nowMs: number; createdAtMs?: number },
  ): SnapshotRef[] {
    const { key, snapshot } = entry;
    checkCacheKey(key);
    checkBytes('sizeBytes', entry.sizeBytes);
    if (entry.parent === snapshot) throw invalid('parent', `snapshot ${snapshot} cannot be its own parent`);
    return this.#database.transact(() => {
      const other = this.#entries.bySnapshot(snapshot);
      if (other && other.entry.key !== key) {
        throw invalid('snapshot', `snapshot ${snapshot} is that of cache entry ${other.entry.key}`);
      }
      const replaced = this.#entries.byKey(key);
      if (replaced) this.#entries.delete(replaced);
      const id = this.#entries.insert(entry, { nowMs, createdAtMs });
      this.#outputs.insert(id, entry.output);
      if (entry.inputs) this.#inputs.insert(id, entry.name, entry.inputs);
      this.#history.forget(key);
      const gone = this.#evict({ nowMs, stays: snapshot }).map((evicted) => evicted.snapshot);
      if (replaced && replaced.entry.snapshot !== snapshot) gone.unshift(replaced.entry.snapshot);
      return gone;
    });
  }

  /** Removes an entry. Returns its snapshot. @param options.snapshot only if it has this one */
  invalidate(
    key: string,
    options: { reason: GoneReason; nowMs: number; detail?: string; snapshot?: SnapshotRef },
  ): SnapshotRef | undefined {
    checkCacheKey(key);
    const { reason, nowMs, detail, snapshot } = options;
    return this.#database.transact(() => {
      const found = this.#entries.byKey(key);
      if (!found || (snapshot !== undefined && snapshot !== found.entry.snapshot)) return undefined;
      this.#entries.delete(found);
      this.#history.record(key, { reason, atMs: nowMs, ...(detail !== undefined && { detail }) });
      return found.entry.snapshot;
    });
  }

  /**
   * Evicts what was not used for so long, and what is over the limits. Returns what went, in that order.
   *
   * @param options.dryRun only says what would go
   */
  evict(options: { nowMs: number; unusedForMs?: number; dryRun?: true }): CacheEntry[] {
    const { dryRun, ...rest } = options;
    if (!dryRun) return this.#database.transact(() => this.#evict(rest));
    return this.#database.transact(() => this.#takenBack(() => this.#evict(rest)), { durability: 'process' });
  }

  /** Notes of a key that its last run failed. */
  recordFailure(key: string, { nowMs, detail }: { nowMs: number; detail: string }): void {
    checkCacheKey(key);
    this.#database.transact(() => this.#history.record(key, { reason: 'failed', atMs: nowMs, detail }), {
      durability: 'process', // It is only told to people.
    });
  }

  /** The last thing that happened to a key since it was last put. */
  history(key: string): KeyHistory | undefined {
    return this.#history.find(checkCacheKey(key));
  }

  bySnapshot(snapshot: SnapshotRef): CacheEntry | undefined {
    return this.#entries.bySnapshot(snapshot)?.entry;
  }

  /**
   * Most recently used first.
   *
   * @param options.after a key of the page before
   * @param options.prefix of keys
   * @throws AlcoveError `CacheEntryNotFound` when there is no `after` any more
   */
  list({ limit, after, prefix }: { limit?: number; after?: string; prefix?: string } = {}): CacheEntry[] {
    const last = after === undefined ? undefined : this.#entries.byKey(checkCacheKey(after));
    if (after !== undefined && !last) {
      throw new AlcoveError('CacheEntryNotFound', `there is no cache entry ${after} any more`, {
        remedy: 'List from the beginning.',
      });
    }
    return this.#entries.list({ limit, prefix, before: last?.seq }).map(({ entry }) => entry);
  }

  /** All, in no order, one at a time; entries may come and go meanwhile. */
  snapshots(): Iterable<{ key: string; snapshot: SnapshotRef }> {
    return this.#entries.snapshots();
  }

  totals(): Totals {
    return this.#entries.totals();
  }

  /** As it was put. */
  output(key: string): Uint8Array | undefined {
    const found = this.#entries.byKey(checkCacheKey(key));
    return found && this.#outputs.find(found.id);
  }

  inputs(key: string): StoredInputs | undefined {
    const found = this.#entries.byKey(checkCacheKey(key));
    return found && this.#inputs.find(found.id);
  }

  /**
   * Entries worth comparing with inputs that have none: the latest of the same name, the same command, the same source, and of all; at
   * most `limit` of each, in that order. Their trees come without entries: {@link inputs} has them.
   */
  candidates(
    { name, inputs }: { name?: string; inputs: StoredInputs },
    limit: number,
  ): { entry: CacheEntry; inputs: StoredInputs }[] {
    return [...this.#inputs.like(name, inputs, limit)].flatMap(([id, theirs]) => {
      const found = this.#entries.byId(id);
      return found ? [{ entry: found.entry, inputs: theirs }] : [];
    });
  }

  /** Keeps an entry of this snapshot from being evicted until disposed; one that has none yet, too. */
  lease(snapshot: SnapshotRef): Disposable {
    return this.#leases.hold(snapshot);
  }

  /** @param stays a snapshot whose entry is not evicted */
  #evict({ stays, ...when }: { nowMs: number; unusedForMs?: number; stays?: SnapshotRef }): CacheEntry[] {
    const evicted = evictFrom(this.#entries, {
      ...when,
      limits: this.limits,
      isInUse: (snapshot) => snapshot === stays || this.#leases.has(snapshot) || this.#isPinned(snapshot),
    });
    for (const { entry, why } of evicted) {
      this.#history.record(entry.key, { reason: 'evicted', atMs: when.nowMs, detail: why });
    }
    return evicted.map(({ entry }) => entry);
  }

  /** Runs `work`, and takes back what it wrote. */
  #takenBack<T>(work: () => T): T {
    this.#savepoint.run();
    try {
      return work();
    } finally {
      this.#rollBack.run();
      this.#release.run();
    }
  }
}
