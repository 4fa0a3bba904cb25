import type { SnapshotRef } from '../../vm/index.ts';
import type { StoredInputs } from '../keys/inputs.ts';

/** A key, and what its action made. */
export interface CacheEntry {
  key: string;
  snapshot: SnapshotRef;
  /** The snapshot it was made from, where there was one. */
  parent?: SnapshotRef;
  /** What the action is called. */
  name?: string;
  /** What its snapshot took of the disk by itself when it was made. */
  sizeBytes: number;
  createdAtMs: number;
  lastUsedAtMs: number;
  /** How often it was a hit. */
  hits: number;
  /** Always 0: nothing else is stored. */
  exitCode: 0;
  /** How long the action took. */
  durationMs: number;
}

export interface NewEntry extends Omit<CacheEntry, 'createdAtMs' | 'lastUsedAtMs' | 'hits' | 'exitCode'> {
  /** Absent: nobody knows them. */
  inputs?: StoredInputs;
  /** Retained output, encoded; opaque here. */
  output: Uint8Array;
}

export interface CacheLimits {
  /** Most entries; at least 1. @default 64 */
  maxEntries: number;
  /** Most bytes of disk that the snapshots take. */
  maxBytes: number;
  /** Evicting for bytes or for age never leaves less than that; the limit of entries holds regardless. */
  reservedBytes: number;
}

/** Why a key has no entry any more. */
export type GoneReason =
  /** Least recently used when there was no more room. */
  | 'evicted'
  /** By a caller. */
  | 'removed'
  /** Its snapshot was not there any more. */
  | 'snapshot gone'
  /** Its last run did not exit with 0; it was never stored, or what was stored is an older result. */
  | 'failed';

/** The last thing that happened to a key without an entry. */
export interface KeyHistory {
  reason: GoneReason;
  atMs: number;
  /** In words, e.g. `exit code 2`. */
  detail?: string;
}
