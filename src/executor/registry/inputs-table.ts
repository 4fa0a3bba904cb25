import { createHash } from 'node:crypto';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { Database } from '../../store/index.ts';
import type { InjectedTree, StoredInputs } from '../keys/inputs.ts';

type Row = Record<string, unknown>;

/** What entries were made of, by entry id. */
export class InputsTable {
  readonly #insert;
  readonly #find;
  readonly #latestOf;
  readonly #latest;

  constructor(database: Database) {
    this.#insert = database.prepare('INSERT INTO cache_inputs VALUES (?, ?, ?, ?, ?, ?)');
    this.#find = database.prepare('SELECT summary, trees FROM cache_inputs WHERE id = ?');
    const latest = (where: string) =>
      database.prepare(`SELECT id, summary FROM cache_inputs ${where} ORDER BY id DESC LIMIT ?`);
    this.#latestOf = {
      name: latest('WHERE name = ?'),
      command: latest('WHERE command = ?'),
      source: latest('WHERE source = ?'),
    };
    this.#latest = latest('');
  }

  insert(id: number, name: string | undefined, inputs: StoredInputs): void {
    const { values, trees } = inputs;
    const summary = { values, trees: trees.map(({ to, digest }) => ({ to, digest })) };
    const [command, source] = [commandOf(inputs), sourceOf(inputs)];
    const entries = trees.length > 0 ? zstdCompressSync(JSON.stringify(trees.map((t) => t.entries))) : null;
    this.#insert.run(id, name ?? null, command, source, JSON.stringify(summary), entries);
  }

  find(id: number): StoredInputs | undefined {
    const row = this.#find.get(id);
    if (!row) return undefined;
    const { values, trees } = readSummary(row);
    if (row.trees === null) return { values, trees };
    const entries = JSON.parse(
      String(zstdDecompressSync(row.trees as Uint8Array)),
    ) as InjectedTree['entries'][];
    return { values, trees: trees.map((tree, index) => ({ ...tree, entries: entries[index] ?? [] })) };
  }

  /** By id, without the entries of trees: the latest of the same name, the same command, the same source, and of all; `limit` of each. */
  like(name: string | undefined, inputs: StoredInputs, limit: number): Map<number, StoredInputs> {
    const { name: ofName, command: ofCommand, source: ofSource } = this.#latestOf;
    const rows = [
      ...(name === undefined ? [] : ofName.all(name, limit)),
      ...ofCommand.all(commandOf(inputs), limit),
      ...ofSource.all(sourceOf(inputs), limit),
      ...this.#latest.all(limit),
    ];
    return new Map(rows.map((row) => [Number(row.id), readSummary(row)]));
  }
}

/** `null` is equal to nothing in SQLite. */
function commandOf({ values }: StoredInputs): Uint8Array | null {
  return digestOf('command', values.command);
}

function sourceOf({ values }: StoredInputs): Uint8Array | null {
  return digestOf('image', values.image) ?? digestOf('parent', values.parent);
}

/** Of fixed length, however long a command is. A collision would only make for a candidate more. */
function digestOf(name: string, value: StoredInputs['values'][string] | undefined): Uint8Array | null {
  if (!value) return null;
  const [kind, text] = 'text' in value ? ['text', value.text] : ['digest', value.digest];
  return createHash('sha256').update(`${name}\0${kind}\0${text}`).digest().subarray(0, 16);
}

function readSummary({ summary }: Row): StoredInputs {
  const { values, trees } = JSON.parse(String(summary)) as StoredInputs;
  return { values, trees: trees.map((tree) => ({ ...tree, entries: [] })) };
}
