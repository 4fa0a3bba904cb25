import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CacheLimits, NewEntry } from '../../src/executor/registry/entry.ts';
import { Registry } from '../../src/executor/registry/index.ts';
import { Database } from '../../src/store/index.ts';
import type { SnapshotRef } from '../../src/vm/index.ts';

/** A registry in a directory of its own, which can be closed and opened again. */
export class RegistryFixture implements Disposable {
  readonly path: string;
  readonly pinned = new Set<SnapshotRef>();
  readonly #dir = mkdtempSync(join(tmpdir(), 'alcove-registry-'));
  readonly #makeDatabase: (path: string) => Database;
  #limits: CacheLimits = { maxEntries: 64, maxBytes: Number.POSITIVE_INFINITY, reservedBytes: 0 };
  #maxHistory: number | undefined;
  database: Database;
  registry: Registry;

  constructor(
    limits: Partial<CacheLimits> & { maxHistory?: number } = {},
    makeDatabase = (path: string) => new Database(path),
  ) {
    this.path = join(this.#dir, 'alcove.db');
    this.#makeDatabase = makeDatabase;
    this.database = makeDatabase(this.path);
    this.registry = this.#open(limits);
  }

  /** As after a crash: nothing is kept but the file. */
  reopen(limits: Partial<CacheLimits> = {}): Registry {
    this.database.close();
    this.database = this.#makeDatabase(this.path);
    this.registry = this.#open(limits);
    return this.registry;
  }

  #open({
    maxHistory = this.#maxHistory,
    ...limits
  }: Partial<CacheLimits> & { maxHistory?: number }): Registry {
    this.#limits = { ...this.#limits, ...limits };
    this.#maxHistory = maxHistory;
    return new Registry(this.database, {
      limits: this.#limits,
      isPinned: (snapshot) => this.pinned.has(snapshot),
      ...(maxHistory !== undefined && { maxHistory }),
    });
  }

  [Symbol.dispose](): void {
    this.database.close();
    rmSync(this.#dir, { recursive: true });
  }
}

/** An entry of which only the key matters: its snapshot is named after it. */
export function entryOf(key: string, more: Partial<NewEntry> = {}): NewEntry {
  return {
    key,
    snapshot: `vm/${key}`,
    sizeBytes: 100,
    durationMs: 1500,
    output: new TextEncoder().encode(`output of ${key}`),
    ...more,
  };
}
