import type { StatementSync } from 'node:sqlite';
import type { ImageConfig } from '../images/index.ts';
import type { Database } from '../store/index.ts';
import type { BackendHandle, MachineShape } from './backend.ts';
import type { SnapshotRef, VmStatus } from './vm.ts';

/** What is fixed about a VM when it is made; snapshots carry it on to the VMs made from them. */
export interface VmBlueprint {
  image: { reference: string; digest: string };
  imageConfig: Pick<ImageConfig, 'env' | 'user' | 'workdir'>;
  shape: MachineShape;
  env: Record<string, string>;
}

/** What is fixed about one VM alone. */
export interface VmIdentity {
  labels: Record<string, string>;
  /** 32 hex digits, its own: never a copy's. */
  machineId: string;
  /** The snapshot it was made from. */
  from?: { uid: string; ref: SnapshotRef };
}

/** A VM's durable row. */
export interface VmRecord extends VmBlueprint, VmIdentity {
  id: string;
  status: VmStatus;
  reason: string | undefined;
  backend: string;
  handle: BackendHandle | undefined;
  /** The snapshot its next one descends from: the last taken of it, or the one it was made from. */
  lineUid: string | undefined;
  createdAtMs: number;
  changedAtMs: number;
}

/** Rows of VMs. Every method is one statement; callers put them into transactions with what belongs together. */
export class VmRecords {
  readonly #insert: StatementSync;
  readonly #find: StatementSync;
  readonly #all: StatementSync;
  readonly #setStatus: StatementSync;
  readonly #setHandle: StatementSync;
  readonly #setLine: StatementSync;
  readonly #relink: StatementSync;
  readonly #usersOfSnapshot: StatementSync;
  readonly #imageDigests: StatementSync;
  readonly #firstExpired: StatementSync;
  readonly #purge: StatementSync;

  constructor(database: Database) {
    this.#insert = database.prepare('INSERT INTO vms VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
    this.#find = database.prepare('SELECT * FROM vms WHERE id = ?');
    this.#all = database.prepare('SELECT * FROM vms ORDER BY id');
    this.#setStatus = database.prepare(
      'UPDATE vms SET status = ?, reason = ?, changed_at_ms = ? WHERE id = ?',
    );
    this.#setHandle = database.prepare('UPDATE vms SET handle = ? WHERE id = ?');
    this.#setLine = database.prepare('UPDATE vms SET line_uid = ? WHERE id = ?');
    this.#relink = database.prepare('UPDATE vms SET line_uid = ? WHERE line_uid = ?');
    this.#usersOfSnapshot = database.prepare(
      "SELECT id FROM vms WHERE from_uid = ? AND status <> 'destroyed' ORDER BY id",
    );
    this.#imageDigests = database.prepare(
      "SELECT DISTINCT image_digest FROM vms WHERE status <> 'destroyed'",
    );
    this.#firstExpired = database.prepare(
      "SELECT 1 FROM vms WHERE status = 'destroyed' AND changed_at_ms <= ? LIMIT 1",
    );
    this.#purge = database.prepare("DELETE FROM vms WHERE status = 'destroyed' AND changed_at_ms <= ?");
  }

  insert(record: VmRecord): void {
    const { image, imageConfig, shape, env, labels, machineId, from } = record;
    this.#insert.run(
      record.id,
      record.status,
      record.reason ?? null,
      record.backend,
      image.digest,
      from?.uid ?? null,
      record.lineUid ?? null,
      record.handle === undefined ? null : JSON.stringify(record.handle),
      JSON.stringify({ image, imageConfig, shape, env, labels, machineId, from }),
      record.createdAtMs,
      record.changedAtMs,
    );
  }

  find(id: string): VmRecord | undefined {
    const row = this.#find.get(id);
    return row && readRecord(row);
  }

  /** Sorted by id, destroyed ones included. */
  all(): VmRecord[] {
    return this.#all.all().map(readRecord);
  }

  setStatus(id: string, status: VmStatus, reason: string | undefined, nowMs: number): void {
    this.#setStatus.run(status, reason ?? null, nowMs, id);
  }

  setHandle(id: string, handle: BackendHandle | undefined): void {
    this.#setHandle.run(handle === undefined ? null : JSON.stringify(handle), id);
  }

  setLine(id: string, uid: string): void {
    this.#setLine.run(uid, id);
  }

  /** Lets every VM whose line ends in a snapshot that goes descend from that one's parent. */
  relinkLines(uid: string, parentUid: string | undefined): void {
    this.#relink.run(parentUid ?? null, uid);
  }

  /** Ids of the VMs that were made from a snapshot and still exist. */
  usersOfSnapshot(uid: string): string[] {
    return this.#usersOfSnapshot.all(uid).map((row) => String(row.id));
  }

  imageDigests(): string[] {
    return this.#imageDigests.all().map((row) => String(row.image_digest));
  }

  /** Forgets VMs that were destroyed at `beforeMs` or earlier. */
  purgeDestroyed(beforeMs: number): void {
    if (this.#firstExpired.get(beforeMs)) this.#purge.run(beforeMs);
  }
}

function readRecord(row: Record<string, unknown>): VmRecord {
  return {
    ...(JSON.parse(String(row.spec)) as VmBlueprint & VmIdentity),
    id: String(row.id),
    status: row.status as VmStatus,
    reason: row.reason === null ? undefined : String(row.reason),
    backend: String(row.backend),
    handle: row.handle === null ? undefined : (JSON.parse(String(row.handle)) as BackendHandle),
    lineUid: row.line_uid === null ? undefined : String(row.line_uid),
    createdAtMs: Number(row.created_at_ms),
    changedAtMs: Number(row.changed_at_ms),
  };
}
