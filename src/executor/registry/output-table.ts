import type { Database } from '../../store/index.ts';

/** What commands printed, by entry id. */
export class OutputTable {
  readonly #insert;
  readonly #find;

  constructor(database: Database) {
    this.#insert = database.prepare('INSERT INTO cache_outputs VALUES (?, ?)');
    this.#find = database.prepare('SELECT output FROM cache_outputs WHERE id = ?');
  }

  insert(id: number, output: Uint8Array): void {
    this.#insert.run(id, output);
  }

  find(id: number): Uint8Array | undefined {
    return this.#find.get(id)?.output as Uint8Array | undefined;
  }
}
