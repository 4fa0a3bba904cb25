import type { Database } from '../../store/index.ts';
import type { GoneReason, KeyHistory } from './entry.ts';

/** The last thing that happened to keys; of the latest ones only. */
export class HistoryTable {
  readonly #find;
  readonly #insert;
  readonly #delete;
  readonly #count;
  readonly #deleteOldest;
  readonly #most: number;

  /** @param most so many keys are remembered */
  constructor(database: Database, most: number) {
    this.#most = most;
    this.#find = database.prepare('SELECT reason, at_ms, detail FROM cache_history WHERE key = ?');
    this.#insert = database.prepare(
      'INSERT INTO cache_history (key, reason, at_ms, detail) VALUES (?, ?, ?, ?)',
    );
    this.#delete = database.prepare('DELETE FROM cache_history WHERE key = ?');
    this.#count = database.prepare('SELECT histories FROM cache_totals');
    this.#deleteOldest = database.prepare(
      'DELETE FROM cache_history WHERE seq IN (SELECT seq FROM cache_history ORDER BY seq LIMIT ?)',
    );
  }

  find(key: string): KeyHistory | undefined {
    const row = this.#find.get(key);
    if (!row) return undefined;
    const { reason, at_ms, detail } = row;
    return {
      reason: reason as GoneReason,
      atMs: Number(at_ms),
      ...(detail !== null && { detail: String(detail) }),
    };
  }

  /** In place of what was known of the key. */
  record(key: string, { reason, atMs, detail }: KeyHistory): void {
    this.#delete.run(key);
    this.#insert.run(key, reason, atMs, detail ?? null);
    const tooMany = Number(this.#count.get()?.histories) - this.#most;
    if (tooMany > 0) this.#deleteOldest.run(tooMany);
  }

  forget(key: string): void {
    this.#delete.run(key);
  }
}
