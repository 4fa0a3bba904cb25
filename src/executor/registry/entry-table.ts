import type { Database } from '../../store/index.ts';
import type { SnapshotRef } from '../../vm/index.ts';
import type { CacheEntry, NewEntry } from './entry.ts';

/** An entry with what orders it among the others. */
export interface StoredEntry {
  readonly id: number;
  readonly entry: CacheEntry;
  /** Of its last use; a greater one was later. */
  readonly seq: number;
  /** How many entries were made from its snapshot. */
  readonly children: number;
}

export interface Totals {
  entries: number;
  /** What their snapshots took of the disk when they were made. */
  bytes: number;
  /** Entries from whose snapshot others were made. */
  pinnedByChildren: number;
}

type Row = Record<string, unknown>;

const columns = `e.id, key, snapshot, parent, name, size_bytes, created_at_ms, duration_ms,
  seq, last_used_at_ms, hits, children`;
const joined = `SELECT ${columns} FROM cache_entries AS e JOIN cache_usage AS u USING (id)`;
/** The order in which things are looked for is the order of the tables here, with CROSS JOIN (sqlite.org/optoverview.html#crossjoin). */
const joinedByUse = `SELECT ${columns} FROM cache_usage AS u CROSS JOIN cache_entries AS e USING (id)`;

/** The rows of entries, and the order of their use. */
export class EntryTable {
  readonly #byKey;
  readonly #bySnapshot;
  readonly #byId;
  readonly #insertEntry;
  readonly #insertUsage;
  readonly #touch;
  readonly #delete;
  readonly #nextLeaf;
  readonly #leavesBefore;
  readonly #parentsBefore;
  readonly #prefixBefore;
  readonly #snapshotsAfter;
  readonly #totals;
  #lastSeq: number;

  constructor(database: Database) {
    this.#byKey = database.prepare(`${joined} WHERE key = ?`);
    this.#bySnapshot = database.prepare(`${joined} WHERE snapshot = ?`);
    this.#byId = database.prepare(`${joined} WHERE e.id = ?`);
    this.#insertEntry = database.prepare(
      `INSERT INTO cache_entries (key, snapshot, parent, name, size_bytes, created_at_ms, duration_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
    );
    // An entry may come after those that were made from its snapshot, as when it is imported.
    this.#insertUsage = database.prepare(
      'INSERT INTO cache_usage VALUES (?, ?, ?, 0, (SELECT count(*) FROM cache_entries WHERE parent = ?))',
    );
    this.#touch = database.prepare(
      'UPDATE cache_usage SET seq = ?, last_used_at_ms = ?, hits = hits + 1 WHERE id = ?',
    );
    this.#delete = database.prepare('DELETE FROM cache_entries WHERE id = ?');
    this.#nextLeaf = database.prepare(`${joinedByUse} WHERE children = 0 AND seq > ? ORDER BY seq LIMIT 1`);
    this.#leavesBefore = database.prepare(
      `${joinedByUse} WHERE children = 0 AND seq < ? ORDER BY seq DESC LIMIT ?`,
    );
    this.#parentsBefore = database.prepare(
      `${joinedByUse} WHERE children > 0 AND seq < ? ORDER BY seq DESC LIMIT ?`,
    );
    this.#prefixBefore = database.prepare(
      `SELECT ${columns} FROM cache_entries AS e CROSS JOIN cache_usage AS u USING (id)
       WHERE key >= ? AND key < ? AND seq < ? ORDER BY seq DESC LIMIT ?`,
    );
    this.#snapshotsAfter = database.prepare(
      'SELECT id, key, snapshot FROM cache_entries WHERE id > ? ORDER BY id LIMIT ?',
    );
    this.#totals = database.prepare('SELECT entries, bytes, parents FROM cache_totals');
    this.#lastSeq = Math.max(0, ...this.list({ limit: 1 }).map(({ seq }) => seq));
  }

  byKey(key: string): StoredEntry | undefined {
    return readRow(this.#byKey.get(key));
  }

  bySnapshot(snapshot: SnapshotRef): StoredEntry | undefined {
    return readRow(this.#bySnapshot.get(snapshot));
  }

  byId(id: number): StoredEntry | undefined {
    return readRow(this.#byId.get(id));
  }

  /** Adds an entry, as the most recently used. Returns its id, which is greater than that of any other. */
  insert(entry: NewEntry, { nowMs, createdAtMs }: { nowMs: number; createdAtMs: number }): number {
    const { key, snapshot, parent = null, name = null, sizeBytes, durationMs } = entry;
    const { lastInsertRowid } = this.#insertEntry.run(
      key,
      snapshot,
      parent,
      name,
      sizeBytes,
      createdAtMs,
      durationMs,
    );
    this.#insertUsage.run(lastInsertRowid, ++this.#lastSeq, nowMs, snapshot);
    return Number(lastInsertRowid);
  }

  /** Makes an entry the most recently used. Returns it as it is then. */
  touch({ id, entry }: StoredEntry, nowMs: number): CacheEntry {
    this.#touch.run(++this.#lastSeq, nowMs, id);
    return { ...entry, lastUsedAtMs: nowMs, hits: entry.hits + 1 };
  }

  /** Removes an entry with all that is known of it. */
  delete({ id }: StoredEntry): void {
    this.#delete.run(id);
  }

  /** The least recently used entry that is nobody's parent, of those used after `seq`. */
  nextLeaf(seq: number): StoredEntry | undefined {
    return readRow(this.#nextLeaf.get(seq));
  }

  /** Most recently used first. @param before only those used before that */
  list(options: {
    before?: number | undefined;
    limit?: number | undefined;
    prefix?: string | undefined;
  }): StoredEntry[] {
    const { before = Number.MAX_SAFE_INTEGER, limit = -1, prefix = '' } = options;
    if (prefix !== '') {
      return this.#prefixBefore.all(prefix, endOfPrefix(prefix), before, limit).map(readExisting);
    }
    const leaves = this.#leavesBefore.all(before, limit);
    const parents = this.#parentsBefore.all(before, limit);
    const merged = [...leaves, ...parents].map(readExisting).sort((a, b) => b.seq - a.seq);
    return limit < 0 ? merged : merged.slice(0, limit);
  }

  /** In the order in which they were put; reads a page at a time, so that entries may come and go meanwhile. */
  *snapshots(): Iterable<{ key: string; snapshot: SnapshotRef }> {
    for (let last = 0; ; ) {
      const page = this.#snapshotsAfter.all(last, 256);
      for (const { key, snapshot } of page) yield { key: String(key), snapshot: snapshot as SnapshotRef };
      if (page.length === 0) return;
      last = Number(page.at(-1)?.id);
    }
  }

  totals(): Totals {
    const { entries, bytes, parents } = this.#totals.get() ?? {};
    return { entries: Number(entries), bytes: Number(bytes), pinnedByChildren: Number(parents) };
  }
}

/** What is greater than every text that begins so, and not greater than any other that is greater; SQLite compares code points. */
function endOfPrefix(prefix: string): string | Uint8Array {
  const points = [...prefix].map((character) => character.codePointAt(0) ?? 0);
  while (points.at(-1) === 0x10ffff) points.pop();
  const last = points.pop();
  if (last === undefined) return new Uint8Array(); // Any blob is greater than any text.
  return String.fromCodePoint(...points, last === 0xd7ff ? 0xe000 : last + 1);
}

function readRow(row: Row | undefined): StoredEntry | undefined {
  return row && readExisting(row);
}

function readExisting(row: Row): StoredEntry {
  return {
    id: row.id as number,
    seq: row.seq as number,
    children: row.children as number,
    entry: {
      key: row.key as string,
      snapshot: row.snapshot as SnapshotRef,
      ...(row.parent !== null && { parent: row.parent as SnapshotRef }),
      ...(row.name !== null && { name: row.name as string }),
      sizeBytes: row.size_bytes as number,
      createdAtMs: row.created_at_ms as number,
      lastUsedAtMs: row.last_used_at_ms as number,
      hits: row.hits as number,
      exitCode: 0,
      durationMs: row.duration_ms as number,
    },
  };
}
