import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import type { BackendCallOptions } from './backend.ts';
import type { Calls } from './calls.ts';
import { ownBytesWithout } from './disk-use.ts';
import { parseSnapshotRef, snapshotRef } from './ids.ts';
import { type LineageNode, lineage } from './lineage.ts';
import {
  type ExportSetOptions,
  exportSet,
  exportSnapshot,
  type ImportOptions,
  type ImportSetOptions,
  importSet,
  importSnapshot,
} from './portable/index.ts';
import { neededBy, releaseSnapshot, removeSnapshot } from './remove-snapshot.ts';
import { type RuntimeContext, snapshotDir, vmDir } from './runtime-context.ts';
import { snapshotFacts } from './snapshot-facts.ts';
import { snapshotInfo } from './snapshot-info.ts';
import { findSnapshot, listedSnapshots, usingSnapshot } from './snapshot-source.ts';
import { verifySnapshot } from './verify-snapshot.ts';
import type { SnapshotFacts, SnapshotInfo, SnapshotRef } from './vm.ts';

/** What can be done with snapshots that are there. */
export class SnapshotCalls {
  readonly #context: RuntimeContext;
  readonly #calls: Calls;

  constructor(context: RuntimeContext, calls: Calls) {
    this.#context = context;
    this.#calls = calls;
  }

  /**
   * In creation order.
   *
   * @param options.vmId those of the VM that has this id now; when none has it, of those that had it
   */
  async list(options: { vmId?: string } = {}): Promise<SnapshotInfo[]> {
    const listed: SnapshotInfo[] = [];
    for (const record of listedSnapshots(this.#context, options.vmId))
      listed.push(await snapshotInfo(this.#context, record));
    return listed;
  }

  async get(ref: SnapshotRef): Promise<SnapshotInfo | undefined> {
    const { vmId, id } = parseSnapshotRef(ref);
    const record = this.#context.snapshots.find(vmId, id);
    return record && record.lifetime !== 'lost' ? snapshotInfo(this.#context, record) : undefined;
  }

  /**
   * Where each snapshot and VM comes from.
   *
   * @param options.vmId only the trees in which a VM or a snapshot of that id stands
   */
  async tree(options: { vmId?: string } = {}): Promise<LineageNode[]> {
    return lineage(this.#context, options);
  }

  /** Names of those that have a label, in creation order. */
  labelled(label: string): { ref: SnapshotRef; value: string }[] {
    return listedSnapshots(this.#context).flatMap(({ vmId, id, labels }) => {
      const value = labels[label];
      return value === undefined ? [] : [{ ref: snapshotRef(vmId, id), value }];
    });
  }

  /** Whether it is there with all its files; what is in them is not looked at. */
  async has(ref: SnapshotRef): Promise<boolean> {
    const { vmId, id } = parseSnapshotRef(ref);
    const record = this.#context.snapshots.find(vmId, id);
    if (!record) return false;
    const dir = snapshotDir(this.#context, record.uid);
    // At once: some files at 5 µs each, where a turn of the thread pool takes 100 and a cache hit 150 in all.
    return Object.entries(record.manifest.files).every(([name, { sizeBytes }]) => {
      const stats = lstatSync(join(dir, name), { throwIfNoEntry: false });
      return stats?.isFile() && stats.size === sizeBytes;
    });
  }

  /** What it takes of the disk by itself, in bytes, once the VM that it was taken of is gone. @throws AlcoveError `SnapshotNotFound` */
  async ownBytes(ref: SnapshotRef): Promise<number> {
    const { uid, vmId } = findSnapshot(this.#context, ref);
    return ownBytesWithout(snapshotDir(this.#context, uid), vmDir(this.#context, vmId));
  }

  /** @throws AlcoveError `SnapshotNotFound`, `InvalidInput` */
  facts(ref: SnapshotRef): SnapshotFacts {
    return snapshotFacts(this.#context, findSnapshot(this.#context, ref));
  }

  /** Keeps it from being removed until disposed. @throws AlcoveError `SnapshotNotFound`, `InvalidInput` */
  hold(ref: SnapshotRef): Disposable {
    return this.#context.pins.hold(findSnapshot(this.#context, ref).uid);
  }

  /** What was made from it and is there, in words for people: snapshots, VMs, calls that use it now. Of one that is not there, nothing. */
  usersOf(ref: SnapshotRef): string[] {
    const { vmId, id } = parseSnapshotRef(ref);
    const record = this.#context.snapshots.find(vmId, id);
    if (!record) return [];
    const children = this.#context.snapshots.children(record.uid).map((child) => `snapshot ${child}`);
    return [...new Set([...children, ...neededBy(this.#context, record)])];
  }

  /** From now on it stays only as long as something needs it. @throws AlcoveError `SnapshotNotFound` */
  async release(ref: SnapshotRef): Promise<void> {
    return this.#calls.run({}, () => releaseSnapshot(this.#context, ref));
  }

  /** One whose files are damaged goes, too. @throws AlcoveError `SnapshotNotFound`, `SnapshotInUse` */
  async remove(ref: SnapshotRef): Promise<void> {
    return this.#calls.run({}, () => removeSnapshot(this.#context, ref));
  }

  /**
   * Reads all bytes of a snapshot, and of what it builds on, and compares them with what was recorded.
   *
   * @throws AlcoveError `SnapshotCorrupt`, which names the file; `SnapshotNotFound`, `Cancelled`
   */
  async verify(ref: SnapshotRef, options: BackendCallOptions = {}): Promise<SnapshotInfo> {
    return this.#calls.run(options, (call) =>
      usingSnapshot(this.#context, ref, async (record) => {
        await verifySnapshot(this.#context, record, call);
        return snapshotInfo(this.#context, record);
      }),
    );
  }

  /**
   * A snapshot with all that a restore elsewhere needs, as the bytes of one file; the same ones each time.
   *
   * @throws AlcoveError while iterating: `SnapshotNotFound`, `SnapshotCorrupt`, `ImageNotFound`, `KernelNotFound`, `Cancelled`
   */
  export(ref: SnapshotRef, options: BackendCallOptions = {}): AsyncIterable<Uint8Array> {
    return this.#calls.stream(options, (call) => exportSnapshot(this.#context, ref, call));
  }

  /**
   * Takes in what {@link export} gave, after comparing every byte of it; all of it or nothing.
   *
   * @throws AlcoveError `ArchiveInvalid`, `SnapshotAlreadyExists`, `InvalidInput`, `StateUnusable`, `Cancelled`, and what
   * reading `archive` throws
   */
  async import(archive: AsyncIterable<Uint8Array>, options: ImportOptions = {}): Promise<SnapshotInfo> {
    const { as, ...rest } = options;
    return this.#calls.run(rest, async (call) => {
      const given = { ...call, ...(as !== undefined && { as }) };
      return snapshotInfo(this.#context, await importSnapshot(this.#context, archive, given));
    });
  }

  /**
   * Snapshots with all that restores need, and what the caller attaches, as the bytes of one file; what several of them have is in it
   * once.
   *
   * @throws AlcoveError while iterating: as {@link export}, and `InvalidInput` for an attachment that is too large
   */
  exportSet(refs: readonly SnapshotRef[], options: ExportSetOptions): AsyncIterable<Uint8Array> {
    return this.#calls.stream(options, (call) => exportSet(this.#context, refs, { ...options, ...call }));
  }

  /**
   * Takes in what is wanted of what {@link exportSet} gave, after comparing every byte of it; all of that or nothing.
   *
   * @throws AlcoveError as {@link import}, and what `accept` and `inTransaction` throw
   */
  async importSet(archive: AsyncIterable<Uint8Array>, options: ImportSetOptions): Promise<void> {
    return this.#calls.run(options, (call) => importSet(this.#context, archive, { ...options, ...call }));
  }
}
