import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { AlcoveError } from '../errors.ts';

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

  constructor(path: string) {
    this.path = path;
    this.#db = guard(path, () => {
      const db = new DatabaseSync(path, { timeout: 5000 });
      db.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;');
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
    return guard(this.path, () => this.#db.prepare(sql));
  }

  /** Runs `work` in one transaction: all of it is durable when this returns, or none of it when it throws. Nested calls join the outer one. */
  transact<T>(work: () => T): T {
    if (this.#depth > 0) return work();
    return guard(this.path, () => {
      this.#db.exec('BEGIN IMMEDIATE');
      this.#depth++;
      try {
        const result = work();
        this.#db.exec('COMMIT');
        return result;
      } catch (error) {
        if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
        throw error;
      } finally {
        this.#depth--;
      }
    });
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

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
