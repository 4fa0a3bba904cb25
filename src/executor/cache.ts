import type { SnapshotRef } from '../vm/index.ts';
import type { StoredInputs } from './keys/inputs.ts';
import type { CacheEntry, CacheLimits, KeyHistory } from './registry/entry.ts';

/** What can be done with what is cached. */
export interface Cache {
  /** Most recently used first. @param options.after a key: those after it @param options.prefix of keys */
  list(options?: { limit?: number; after?: string; prefix?: string }): Promise<CacheEntry[]>;
  /** All that is known of a key; a prefix that only one key has will do. @throws AlcoveError `CacheEntryNotFound` */
  inspect(key: string): Promise<CacheEntryDetails>;
  /** Drops entries with their snapshots. @throws AlcoveError `CacheEntryNotFound`; then none was dropped */
  remove(keys: readonly string[]): Promise<void>;
  /** Evicts what is over the limits, and what was not used for so long; removes ephemeral snapshots that nobody holds. */
  gc(options?: { unusedForMs?: number; dryRun?: true }): Promise<CacheGcReport>;
  stats(): Promise<CacheStats>;
  /** Keeps a snapshot from being evicted until disposed. */
  hold(snapshot: SnapshotRef): Disposable;
  /**
   * Entries with their snapshots, and all that a restore elsewhere needs, as the bytes of one file. Errors come while it is iterated.
   *
   * @param options.keys @default all
   */
  export(options?: CacheCallOptions & { keys?: readonly string[] }): AsyncIterable<Uint8Array>;
  /**
   * Takes in what `export` gave, after comparing every byte of it; all of it or nothing. Of a key that is here already, what is here stays.
   *
   * @throws AlcoveError `ArchiveInvalid`, `SnapshotIncompatible` when nothing of it can run here, `StateUnusable`, `Cancelled`, and what
   * reading `archive` throws
   */
  import(archive: AsyncIterable<Uint8Array>, options?: CacheCallOptions): Promise<CacheImportReport>;
}

export interface CacheCallOptions {
  signal?: AbortSignal;
  onProgress?: (step: string) => void;
}

export interface CacheEntryDetails extends CacheEntry {
  /** Absent where the caller gave the key and nobody knows them. */
  inputs?: StoredInputs;
  stdout: string;
  stderr: string;
  truncated: boolean;
  /** Why it cannot be evicted now. */
  pinnedBy: readonly string[];
  /** What happened since, e.g. a refresh that failed. */
  history?: KeyHistory;
}

export interface CacheGcReport {
  removed: { key?: string; snapshot: SnapshotRef; sizeBytes: number; why: string }[];
  freedBytes: number;
}

export interface CacheStats {
  entries: number;
  bytes: number;
  limits: CacheLimits;
  /** Since the engine opened. */
  hits: number;
  misses: number;
  savedMs: number;
}

export interface CacheImportReport {
  added: CacheEntry[];
  /** Keys that were here already. */
  kept: string[];
  /** Keys of what cannot run here. */
  skipped: { key: string; why: string }[];
}
