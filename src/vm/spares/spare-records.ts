import type { StatementSync } from 'node:sqlite';
import type { Database } from '../../store/index.ts';
import type { MachineShape, SpareRequest } from '../backend.ts';
import type { SnapshotRef } from '../vm.ts';

/** Tables of module `spares`. Only ever appended to; see {@link Database.migrate}. */
export const sparesMigrations: readonly string[] = [
  `
  CREATE TABLE spares (
    id TEXT PRIMARY KEY,
    origin TEXT NOT NULL CHECK (origin IN ('hand', 'pool')),
    recipe TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
  ) STRICT;
  `,
];

/** What a spare is made from, by names that can be looked up again when another one is made. */
export type Recipe = { backend: string; shape: MachineShape } & (
  | { kind: 'shape' }
  | { kind: 'image'; image: { reference: string; digest: string } }
  | { kind: 'memory'; snapshot: { uid: string; ref: SnapshotRef } }
);

export type SpareKind = SpareRequest['kind'];

/** A spare's durable row. */
export interface SpareRecord {
  id: string;
  /** Whether somebody asked for it, or the pool made it. */
  origin: 'hand' | 'pool';
  recipe: Recipe;
  createdAtMs: number;
}

/**
 * Rows of spares. One is there from before anything is made of the spare until after all of it is gone; or until the instant
 * a start takes it over, in one transaction with that start's intent: so a spare that is found with a row is nobody's.
 */
export class SpareRecords {
  readonly #insert: StatementSync;
  readonly #delete: StatementSync;
  readonly #all: StatementSync;

  constructor(database: Database) {
    this.#insert = database.prepare('INSERT INTO spares VALUES (?, ?, ?, ?)');
    this.#delete = database.prepare('DELETE FROM spares WHERE id = ?');
    this.#all = database.prepare('SELECT * FROM spares ORDER BY created_at_ms, rowid');
  }

  insert({ id, origin, recipe, createdAtMs }: SpareRecord): void {
    this.#insert.run(id, origin, JSON.stringify(recipe), createdAtMs);
  }

  delete(id: string): void {
    this.#delete.run(id);
  }

  /** Oldest first. */
  all(): SpareRecord[] {
    return this.#all.all().map((row) => ({
      id: String(row.id),
      origin: row.origin as SpareRecord['origin'],
      recipe: JSON.parse(String(row.recipe)) as Recipe,
      createdAtMs: Number(row.created_at_ms),
    }));
  }
}
