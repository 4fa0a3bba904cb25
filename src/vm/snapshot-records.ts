import type { StatementSync } from 'node:sqlite';
import { AlcoveError } from '../errors.ts';
import type { Database } from '../store/index.ts';
import type { SnapshotManifest } from './backend.ts';
import { snapshotRef } from './ids.ts';
import type { Seals } from './seals.ts';
import type { SnapshotRef } from './vm.ts';
import type { VmBlueprint } from './vm-records.ts';

/**
 * How long a snapshot stays: `kept` until it is removed; `ephemeral` until nothing needs it any more (made by a fork);
 * `lost` likewise when garbage is collected: its files are gone or cut, so it is not listed, and cannot be restored.
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
  labels: Record<string, string>;
  /** Of the VM it was taken of, whose id another VM may have by now; `undefined` when it came from elsewhere. */
  machineId: string | undefined;
  /** Of its files; those without one are read before they are used. */
  seals: Seals;
  createdAtMs: number;
}

/** Rows of snapshots, in creation order. */
export class SnapshotRecords {
  readonly #insert: StatementSync;
  readonly #find: StatementSync;
  readonly #byUid: StatementSync;
  readonly #all: StatementSync;
  readonly #idsOfVm: StatementSync;
  readonly #ephemeral: StatementSync;
  readonly #dependants: StatementSync;
  readonly #children: StatementSync;
  readonly #relink: StatementSync;
  readonly #setLifetime: StatementSync;
  readonly #setSeals: StatementSync;
  readonly #delete: StatementSync;
  readonly #imageDigests: StatementSync;

  constructor(database: Database) {
    this.#insert = database.prepare(
      `INSERT INTO snapshots
         (uid, vm_id, id, lifetime, parent_uid, needs_parent, image_digest, manifest, spec, machine_id, seals,
          labels, created_at_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#find = database.prepare('SELECT * FROM snapshots WHERE vm_id = ? AND id = ?');
    this.#byUid = database.prepare('SELECT * FROM snapshots WHERE uid = ?');
    this.#all = database.prepare('SELECT * FROM snapshots ORDER BY seq');
    this.#idsOfVm = database.prepare(
      "SELECT id FROM snapshots WHERE vm_id = ? AND machine_id = ? AND lifetime <> 'lost' ORDER BY seq",
    );
    this.#ephemeral = database.prepare(
      "SELECT * FROM snapshots WHERE lifetime = 'ephemeral' ORDER BY seq DESC",
    );
    this.#dependants = database.prepare(
      'SELECT * FROM snapshots WHERE parent_uid = ? AND needs_parent = 1 ORDER BY seq',
    );
    this.#children = database.prepare('SELECT vm_id, id FROM snapshots WHERE parent_uid = ? ORDER BY seq');
    this.#relink = database.prepare('UPDATE snapshots SET parent_uid = ? WHERE parent_uid = ?');
    this.#setLifetime = database.prepare('UPDATE snapshots SET lifetime = ? WHERE uid = ?');
    this.#setSeals = database.prepare('UPDATE snapshots SET seals = ? WHERE uid = ?');
    this.#delete = database.prepare('DELETE FROM snapshots WHERE uid = ?');
    this.#imageDigests = database.prepare('SELECT uid, image_digest FROM snapshots');
  }

  /** @throws AlcoveError `SnapshotAlreadyExists` when another one has its name */
  insert(record: SnapshotRecord): void {
    this.requireFree(record.vmId, record.id);
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
      record.machineId ?? null,
      JSON.stringify(record.seals),
      JSON.stringify(record.labels),
      record.createdAtMs,
    );
  }

  /**
   * Names are unique in a state directory for as long as the snapshot is there, whoever has its VM's id by then; else one name would
   * mean two snapshots.
   *
   * @throws AlcoveError `SnapshotAlreadyExists`
   */
  requireFree(vmId: string, id: string, remedy?: string): void {
    const there = this.find(vmId, id);
    if (!there) return;
    const ref = snapshotRef(vmId, id);
    const isLost = `It is not listed, because its files are damaged. Remove it: alcove snapshot rm ${ref}`;
    const help = there.lifetime === 'lost' ? isLost : remedy;
    throw new AlcoveError('SnapshotAlreadyExists', `there is a snapshot ${ref} already`, {
      details: { ref },
      ...(help !== undefined && { remedy: help }),
    });
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

  /**
   * What a VM lists: those taken of it. Snapshots of an earlier VM of its id keep their names and are nobody's; this
   * one's get other names.
   */
  idsOfVm({ id, machineId }: { id: string; machineId: string }): string[] {
    return this.#idsOfVm.all(id, machineId).map((row) => String(row.id));
  }

  /** Those that go as soon as nothing needs them, newest first, so that a chain of them goes in one pass. */
  ephemeral(): SnapshotRecord[] {
    return this.#ephemeral.all().map(readRecord);
  }

  /** Snapshots whose files build on this one's. */
  dependants(uid: string): SnapshotRecord[] {
    return this.#dependants.all(uid).map(readRecord);
  }

  /** Those that were taken next of the VM that it was taken of, or of VMs that were made from it. */
  children(uid: string): SnapshotRef[] {
    return this.#children.all(uid).map((row) => snapshotRef(String(row.vm_id), String(row.id)));
  }

  setLifetime(uid: string, lifetime: SnapshotLifetime): void {
    this.#setLifetime.run(lifetime, uid);
  }

  setSeals(uid: string, seals: Seals): void {
    this.#setSeals.run(JSON.stringify(seals), uid);
  }

  /** Removes a row; those that descended from it descend from its parent. */
  delete(record: SnapshotRecord): void {
    this.#relink.run(record.parentUid ?? null, record.uid);
    this.#delete.run(record.uid);
  }

  /** @param gone uids of those that do not count */
  imageDigests(gone: ReadonlySet<string>): string[] {
    const rows = this.#imageDigests.all().filter(({ uid }) => !gone.has(String(uid)));
    return [...new Set(rows.map((row) => String(row.image_digest)))];
  }
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
    machineId: row.machine_id === null ? undefined : String(row.machine_id),
    labels: row.labels === null ? {} : (JSON.parse(String(row.labels)) as Record<string, string>),
    seals: row.seals === null ? {} : (JSON.parse(String(row.seals)) as Seals),
    createdAtMs: Number(row.created_at_ms),
  };
}
