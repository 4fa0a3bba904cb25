import type { StatementSync } from 'node:sqlite';
import type { Database } from '../store/index.ts';

/**
 * Calls that leave an intent behind until what they changed is recorded. `remove-snapshot` and `import` name their snapshot by uid, and
 * are no concern of the VM whose id it has.
 */
export type JournalOp =
  | 'create'
  | 'start'
  | 'stop'
  | 'pause'
  | 'resume'
  | 'snapshot'
  | 'destroy'
  | 'remove-snapshot'
  | 'import';

export interface Intent {
  op: JournalOp;
  vmId: string;
  /** The snapshot that is being made or removed. */
  snapshotUid?: string;
  /** The backend that is at work. */
  backend?: string;
}

export interface JournalEntry extends Intent {
  seq: number;
}

/**
 * What was about to be done. An entry is durable before anything physical happens and goes in the same transaction as
 * the change it announced; so an entry that is found at open, or before a later call, marks work that was cut short.
 */
export class Journal {
  readonly #insert: StatementSync;
  readonly #delete: StatementSync;
  readonly #all: StatementSync;
  readonly #ofVm: StatementSync;

  constructor(database: Database) {
    this.#insert = database.prepare(
      'INSERT INTO vm_journal (op, vm_id, snapshot_uid, backend, began_at_ms) VALUES (?, ?, ?, ?, ?)',
    );
    this.#delete = database.prepare('DELETE FROM vm_journal WHERE seq = ?');
    this.#all = database.prepare('SELECT * FROM vm_journal ORDER BY seq');
    this.#ofVm = database.prepare(
      "SELECT * FROM vm_journal WHERE vm_id = ? AND op NOT IN ('remove-snapshot', 'import') ORDER BY seq",
    );
  }

  /** Writes an intent down; returns what {@link end} takes. */
  begin(intent: Intent, nowMs: number): number {
    const { lastInsertRowid } = this.#insert.run(
      intent.op,
      intent.vmId,
      intent.snapshotUid ?? null,
      intent.backend ?? null,
      nowMs,
    );
    return Number(lastInsertRowid);
  }

  end(seq: number): void {
    this.#delete.run(seq);
  }

  entries(): JournalEntry[] {
    return this.#all.all().map(readEntry);
  }

  /** Work on this VM that was cut short; snapshots that are being removed or imported are not its concern. */
  entriesOf(vmId: string): JournalEntry[] {
    return this.#ofVm.all(vmId).map(readEntry);
  }
}

function readEntry(row: Record<string, unknown>): JournalEntry {
  return {
    seq: Number(row.seq),
    op: row.op as JournalOp,
    vmId: String(row.vm_id),
    ...(row.snapshot_uid !== null && { snapshotUid: String(row.snapshot_uid) }),
    ...(row.backend !== null && { backend: String(row.backend) }),
  };
}
