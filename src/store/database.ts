import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { AlcoveError } from '../errors.ts';

/**
 * What a committed transaction survives: `machine` power loss, too; `process` only the death of the process, however it ends. The latter
 * waits for no disk.
 */
export type Durability = 'machine' | 'process';

/**
 * The engine's one SQLite database: WAL, `synchronous=FULL`, so that a committed transaction survives power loss.
 *
 * Each part of Alcove keeps its own tables, named by a *module*, and brings its own migrations: a list that only ever
 * grows, each entry run once and in order.
 *
 * @throws AlcoveError `StateUnusable` when the file cannot be opened or written, `StateCorrupt` when it is no database or
 * was written by a newer Alcove.
 */
export class Database implements Disposable {
  readonly #db: DatabaseSync;
  readonly path: string;
  #depth = 0;
  /** Whether the transaction under way, or a call nested in it, asked to survive power loss. */
  #mustSync = false;

  constructor(path: string) {
    this.path = path;
    this.#db = guard(path, () => {
      const db = new DatabaseSync(path);
      // As a pragma: Node has an option for it only since 22.16.
      db.exec(
        // A checkpoint syncs two files. Every 32 MiB instead of every 4, small transactions that need no sync of their own seldom wait for one.
        'PRAGMA busy_timeout=5000; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA wal_autocheckpoint=8192;',
      );
      db.exec(
        'CREATE TABLE IF NOT EXISTS migrations (module TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT',
      );
      return db;
    });
  }

  /** Brings a module's tables up to date. */
  migrate(module: string, steps: readonly string[]): void {
    this.transact(() => {
      const row = this.prepare('SELECT version FROM migrations WHERE module = ?').get(module);
      const done = Number(row?.version ?? 0);
      if (done > steps.length) {
        throw new AlcoveError(
          'StateCorrupt',
          `${this.path} was written by a newer Alcove (${module} ${done})`,
          {
            remedy: 'Use that version of Alcove, or another state directory.',
          },
        );
      }
      for (const step of steps.slice(done)) this.#db.exec(step);
      this.prepare(
        'INSERT INTO migrations VALUES (?, ?) ON CONFLICT (module) DO UPDATE SET version = excluded.version',
      ).run(module, steps.length);
    });
  }

  prepare(sql: string): StatementSync {
    return guardStatement(
      this.path,
      guard(this.path, () => this.#db.prepare(sql)),
    );
  }

  /**
   * Runs `work` in one transaction: all of it is durable when this returns, or none of it when it throws. Nested calls join the outer
   * one, which then has the highest durability that any of them asked for.
   *
   * @param options.durability @default 'machine'
   */
  transact<T>(work: () => T, { durability = 'machine' }: { durability?: Durability } = {}): T {
    if (this.#depth > 0) {
      if (durability === 'machine') this.#mustSync = true;
      return work();
    }
    return guard(this.path, () =>
      durability === 'machine' ? this.#commit(work) : this.#commitUnsynced(work),
    );
  }

  #commit<T>(work: () => T): T {
    this.#db.exec('BEGIN IMMEDIATE');
    this.#depth++;
    try {
      const result = work();
      this.#db.exec('COMMIT');
      return result;
    } catch (error) {
      this.#rollBack();
      throw error;
    } finally {
      this.#depth--;
    }
  }

  /** In WAL mode, `synchronous=NORMAL` leaves out the fsync of a commit, and no more (sqlite.org/pragma.html#pragma_synchronous). */
  #commitUnsynced<T>(work: () => T): T {
    this.#mustSync = false;
    this.#db.exec('PRAGMA synchronous=NORMAL');
    let result: T;
    try {
      result = this.#commit(work);
    } finally {
      this.#db.exec('PRAGMA synchronous=FULL');
    }
    // The setting is fixed while a transaction is under way. The next commit syncs the whole log; this one changes nothing, and yet writes a page.
    if (this.#mustSync) this.#db.exec('PRAGMA user_version=0');
    return result;
  }

  #rollBack(): void {
    try {
      this.#db.exec('ROLLBACK');
    } catch {
      // Nothing is left to take back: after some failures, as of a full disk, SQLite has done it (sqlite.org/lang_transaction.html).
    }
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Primary result codes of SQLite (sqlite.org/rescode.html) that say the place is unusable, or the file is not ours. */
const unusable = new Set([5, 6, 8, 10, 13, 14, 23]); // BUSY LOCKED READONLY IOERR FULL CANTOPEN AUTH
const corrupt = new Set([11, 26]); // CORRUPT NOTADB

function guard<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const code = Number((error as { errcode?: number }).errcode ?? 0) & 0xff;
    if (unusable.has(code))
      throw new AlcoveError('StateUnusable', `cannot use ${path}: ${message(error)}`, { cause: error });
    if (corrupt.has(code))
      throw new AlcoveError('StateCorrupt', `${path} is damaged: ${message(error)}`, { cause: error });
    throw error;
  }
}

/** The same statement, whose errors are told as those of its database are. */
function guardStatement(path: string, statement: StatementSync): StatementSync {
  type Call<T> = (...values: SQLInputValue[]) => T;
  const guarded =
    <T>(call: Call<T>): Call<T> =>
    (...values) =>
      guard(path, () => call(...values));
  return Object.assign(statement, {
    run: guarded(statement.run.bind(statement)),
    get: guarded(statement.get.bind(statement)),
    all: guarded(statement.all.bind(statement)),
  });
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
