import type { StatementSync } from 'node:sqlite';
import type { Database } from '../store/index.ts';
import type { SnapshotManifest } from './backend.ts';
import { snapshotRef } from './ids.ts';
import type { SnapshotInfo } from './vm.ts';
import type { VmBlueprint } from './vm-records.ts';

/**
 * How long a snapshot stays: `kept` until it is removed; `ephemeral` until nothing needs it any more (made by a fork);
 * `lost` likewise, but its files are gone, so it is not listed.
 */
export type SnapshotLifetime = 'kept' | 'ephemeral' | 'lost';

/** A snapshot's durable row. Its files lie in the directory named by `uid`. */
export interface SnapshotRecord {
  uid: string;
  vmId: string;
  id: string;
  lifetime: SnapshotLifetime;
  parentUid: string | undefined;
  manifest: SnapshotManifest;
  blueprint: VmBlueprint;
  createdAtMs: number;
}

/** Rows of snapshots, in creation order. */
export class SnapshotRecords {
  readonly #insert: StatementSync;
  readonly #find: StatementSync;
  readonly #byUid: StatementSync;
  readonly #all: StatementSync;
  readonly #idsOfVm: StatementSync;
  readonly #unkept: StatementSync;
  readonly #dependants: StatementSync;
  readonly #relink: StatementSync;
  readonly #setLifetime: StatementSync;
  readonly #delete: StatementSync;
  readonly #imageDigests: StatementSync;

  constructor(database: Database) {
    this.#insert = database.prepare(
      `INSERT INTO snapshots
         (uid, vm_id, id, lifetime, parent_uid, needs_parent, image_digest, manifest, spec, created_at_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#find = database.prepare('SELECT * FROM snapshots WHERE vm_id = ? AND id = ?');
    this.#byUid = database.prepare('SELECT * FROM snapshots WHERE uid = ?');
    this.#all = database.prepare('SELECT * FROM snapshots ORDER BY seq');
    this.#idsOfVm = database.prepare(
      "SELECT id FROM snapshots WHERE vm_id = ? AND lifetime <> 'lost' ORDER BY seq",
    );
    this.#unkept = database.prepare("SELECT * FROM snapshots WHERE lifetime <> 'kept' ORDER BY seq DESC");
    this.#dependants = database.prepare(
      'SELECT * FROM snapshots WHERE parent_uid = ? AND needs_parent = 1 ORDER BY seq',
    );
    this.#relink = database.prepare('UPDATE snapshots SET parent_uid = ? WHERE parent_uid = ?');
    this.#setLifetime = database.prepare('UPDATE snapshots SET lifetime = ? WHERE uid = ?');
    this.#delete = database.prepare('DELETE FROM snapshots WHERE uid = ?');
    this.#imageDigests = database.prepare('SELECT DISTINCT image_digest FROM snapshots');
  }

  insert(record: SnapshotRecord): void {
    this.#insert.run(
      record.uid,
      record.vmId,
      record.id,
      record.lifetime,
      record.parentUid ?? null,
      record.manifest.needsParent ? 1 : 0,
      record.manifest.imageDigest,
      JSON.stringify(record.manifest),
      JSON.stringify(record.blueprint),
      record.createdAtMs,
    );
  }

  find(vmId: string, id: string): SnapshotRecord | undefined {
    const row = this.#find.get(vmId, id);
    return row && readRecord(row);
  }

  byUid(uid: string): SnapshotRecord | undefined {
    const row = this.#byUid.get(uid);
    return row && readRecord(row);
  }

  all(): SnapshotRecord[] {
    return this.#all.all().map(readRecord);
  }

  /** What a VM lists. */
  idsOfVm(vmId: string): string[] {
    return this.#idsOfVm.all(vmId).map((row) => String(row.id));
  }

  /** Those that go as soon as nothing needs them, newest first, so that a chain of them goes in one pass. */
  unkept(): SnapshotRecord[] {
    return this.#unkept.all().map(readRecord);
  }

  /** Snapshots whose files build on this one's. */
  dependants(uid: string): SnapshotRecord[] {
    return this.#dependants.all(uid).map(readRecord);
  }

  setLifetime(uid: string, lifetime: SnapshotLifetime): void {
    this.#setLifetime.run(lifetime, uid);
  }

  /** Removes a row; those that descended from it descend from its parent. */
  delete(record: SnapshotRecord): void {
    this.#relink.run(record.parentUid ?? null, record.uid);
    this.#delete.run(record.uid);
  }

  imageDigests(): string[] {
    return this.#imageDigests.all().map((row) => String(row.image_digest));
  }
}

/** A row as it is listed. */
export function snapshotInfo(record: SnapshotRecord, parent: SnapshotRecord | undefined): SnapshotInfo {
  let sizeBytes = 0;
  for (const file of Object.values(record.manifest.files)) sizeBytes += file.sizeBytes;
  return {
    id: record.id,
    vmId: record.vmId,
    ref: snapshotRef(record.vmId, record.id),
    kind: record.manifest.kind,
    ...(parent && { parent: snapshotRef(parent.vmId, parent.id) }),
    imageDigest: record.manifest.imageDigest,
    sizeBytes,
    createdAtMs: record.createdAtMs,
  };
}

function readRecord(row: Record<string, unknown>): SnapshotRecord {
  return {
    uid: String(row.uid),
    vmId: String(row.vm_id),
    id: String(row.id),
    lifetime: row.lifetime as SnapshotLifetime,
    parentUid: row.parent_uid === null ? undefined : String(row.parent_uid),
    manifest: JSON.parse(String(row.manifest)) as SnapshotManifest,
    blueprint: JSON.parse(String(row.spec)) as VmBlueprint,
    createdAtMs: Number(row.created_at_ms),
  };
}
