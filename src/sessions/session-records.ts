import type { StatementSync } from 'node:sqlite';
import { AlcoveError } from '../errors.ts';
import type { Database } from '../store/index.ts';
import type { BootstrapRecord, FailedBackup } from './session.ts';

/** A session's durable row: `vmId` is the one thing that says which machine is a session's. */
export interface SessionRecord {
  id: string;
  /** `here` it has a machine; `removed` it has a backup instead; `lost` its machine was not there any more. */
  phase: 'here' | 'removed' | 'lost';
  /** Of a session that is here. */
  vmId: string | undefined;
  createdAtMs: number;
  usedAtMs: number;
  /** How often its machine was started: what it was when it stopped is named by it. */
  wakes: number;
  /** The `wakes` whose end its newest backup has. */
  backedUpWakes: number | undefined;
  newestBackup: string | undefined;
  failedBackup: FailedBackup | undefined;
  bootstrap: BootstrapRecord | undefined;
}

export const sessionMigrations = [
  `CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    phase TEXT NOT NULL CHECK (phase IN ('here', 'removed', 'lost')),
    vm_id TEXT UNIQUE,
    created_at_ms INTEGER NOT NULL,
    used_at_ms INTEGER NOT NULL,
    wakes INTEGER NOT NULL,
    backed_up_wakes INTEGER,
    newest_backup TEXT,
    failed_backup TEXT,
    bootstrap TEXT,
    CHECK ((phase = 'here') = (vm_id IS NOT NULL)),
    CHECK (phase <> 'removed' OR newest_backup IS NOT NULL)
  ) STRICT`,
];

/** Rows of sessions. Every change but {@link touch} survives power loss when the call returns. */
export class SessionRecords {
  readonly #database: Database;
  readonly #put: StatementSync;
  readonly #find: StatementSync;
  readonly #all: StatementSync;
  readonly #touch: StatementSync;
  readonly #delete: StatementSync;

  constructor(database: Database) {
    database.migrate('sessions', sessionMigrations);
    this.#database = database;
    this.#put = database.prepare('INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
    this.#find = database.prepare('SELECT * FROM sessions WHERE id = ?');
    this.#all = database.prepare('SELECT * FROM sessions ORDER BY id');
    this.#touch = database.prepare('UPDATE sessions SET used_at_ms = ? WHERE id = ?');
    this.#delete = database.prepare('DELETE FROM sessions WHERE id = ?');
  }

  find(id: string): SessionRecord | undefined {
    const row = this.#find.get(id);
    return row && readRecord(row);
  }

  /** Sorted by id. */
  all(): SessionRecord[] {
    return this.#all.all().map(readRecord);
  }

  put(record: SessionRecord): void {
    this.#put.run(
      record.id,
      record.phase,
      record.vmId ?? null,
      record.createdAtMs,
      record.usedAtMs,
      record.wakes,
      record.backedUpWakes ?? null,
      record.newestBackup ?? null,
      json(record.failedBackup),
      json(record.bootstrap),
    );
  }

  /** Makes a machine that runs a session's own, from now on and for good; whatever it had before is no longer its. */
  setMachine(
    id: string,
    machine: Pick<SessionRecord, 'newestBackup' | 'bootstrap'> & { vmId: string },
    nowMs: number,
  ): void {
    const before = this.find(id);
    this.put({
      id,
      phase: 'here',
      createdAtMs: before?.createdAtMs ?? nowMs,
      usedAtMs: nowMs,
      wakes: (before?.wakes ?? 0) + 1,
      backedUpWakes: undefined,
      failedBackup: undefined,
      ...machine,
    });
  }

  /** Changes what is there now; a session that is gone stays so. */
  change(id: string, change: (record: SessionRecord) => Partial<SessionRecord>): SessionRecord | undefined {
    return this.#database.transact(() => {
      const record = this.find(id);
      if (!record) return undefined;
      const changed = { ...record, ...change(record) };
      this.put(changed);
      return changed;
    });
  }

  /** When it was used last. A power cut may take it back: then it is younger than the machine thinks, and no harm done. */
  touch(id: string, usedAtMs: number): void {
    this.#database.transact(() => this.#touch.run(usedAtMs, id), { durability: 'process' });
  }

  delete(id: string): void {
    this.#delete.run(id);
  }
}

/** @throws AlcoveError `SessionNotFound` */
export function findSession(records: SessionRecords, id: string): SessionRecord {
  const record = records.find(id);
  if (record) return record;
  throw new AlcoveError('SessionNotFound', `there is no session ${id}`, { details: { sessionId: id } });
}

function readRecord(row: Record<string, unknown>): SessionRecord {
  return {
    id: String(row.id),
    phase: row.phase as SessionRecord['phase'],
    vmId: row.vm_id === null ? undefined : String(row.vm_id),
    createdAtMs: Number(row.created_at_ms),
    usedAtMs: Number(row.used_at_ms),
    wakes: Number(row.wakes),
    backedUpWakes: row.backed_up_wakes === null ? undefined : Number(row.backed_up_wakes),
    newestBackup: row.newest_backup === null ? undefined : String(row.newest_backup),
    failedBackup: parse<FailedBackup>(row.failed_backup),
    bootstrap: parse<BootstrapRecord>(row.bootstrap),
  };
}

function json(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value);
}

function parse<T>(value: unknown): T | undefined {
  return value === null ? undefined : (JSON.parse(String(value)) as T);
}
