import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { storageError } from '../../store/index.ts';
import type { CreateRequest, SnapshotManifest, SpareKey } from '../../vm/backend.ts';
import { stateFile } from './device-state.ts';
import { checkLayers, makeTop, removeTop } from './disk-layers.ts';
import { type DiskOwner, freezeDiskOff } from './freeze-disk.ts';
import { layerFile } from './machine-args.ts';
import type { Drives } from './machine-drives.ts';
import {
  adoptMemory,
  checkMemory,
  type KeptLayer,
  type KeptMemory,
  keptMemory,
  removeOthers,
  sealsOf,
  snapshotMemory,
} from './memory-files.ts';
import { assertMemoryFits } from './snapshot-manifest.ts';
import { spareTop } from './spare.ts';
import { imageKey, memoryKey, shapeKey } from './spare-keys.ts';
import type { Origin } from './start-machine.ts';
import type { VmPlaces } from './vm-places.ts';
import { type DiskRecord, isOnDisk, type MemoryRecord, type VmRecord, writeVmRecord } from './vm-record.ts';

/**
 * What lasts of a VM: its disk, its memory while that is kept, and the record of both. Memory and disk belong together: a start from
 * kept memory counts only once its guest goes on as it should, and is taken back as a whole until then.
 */
export class VmFiles implements DiskOwner {
  readonly places: VmPlaces;
  readonly #request: CreateRequest;
  #record: VmRecord;

  constructor(request: CreateRequest, places: VmPlaces, record: VmRecord) {
    this.#request = request;
    this.places = places;
    this.#record = record;
  }

  get record(): VmRecord {
    return this.#record;
  }

  get disk(): DiskRecord {
    return this.#record.disk;
  }

  /** Whether a start goes on from memory, or is doing so. */
  get memoryState(): MemoryRecord['state'] | 'none' {
    return this.#record.memory?.state ?? 'none';
  }

  get drives(): Drives {
    return { diskDir: this.places.disk, disk: this.disk, imagePath: this.#request.image.rootfsPath };
  }

  /** The layers that a machine of this VM is mapped from, lowest first. */
  get layers(): readonly KeptLayer[] {
    const { memory } = this.#record;
    return memory?.layers.map(({ file, digest }) => ({ path: join(this.places.memory, file), digest })) ?? [];
  }

  /** See {@link SpareMaker.keysFor}. */
  get spareKeys(): readonly SpareKey[] {
    const { image, shape } = this.#request;
    const kept = this.kept();
    if (kept) return [memoryKey(shape, [...kept.layers, kept.device])];
    if (this.disk.content === 'changed') return [shapeKey(shape)];
    return [imageKey(shape, image.digest), shapeKey(shape)];
  }

  async setDisk(disk: DiskRecord): Promise<void> {
    await this.#set({ disk });
  }

  /** The memory that the next start goes on from. */
  kept(): KeptMemory | undefined {
    const { memory } = this.#record;
    return memory?.state === 'kept' ? keptMemory(this.places.memory, memory) : undefined;
  }

  /** @throws AlcoveError `SnapshotCorrupt` when a layer of the disk would lead QEMU elsewhere */
  async check(): Promise<void> {
    await checkLayers(this.places.disk, this.disk);
  }

  /**
   * The memory to go on from, as long as it fits a machine with these facts. From here on the disk has a top of its own, so that all of
   * the start can be taken back.
   *
   * @throws AlcoveError `SnapshotIncompatible`, `SnapshotCorrupt`
   */
  async beginFrom(kept: KeptMemory, facts: Readonly<Record<string, string>>): Promise<KeptMemory> {
    assertMemoryFits(kept.facts, facts);
    await checkMemory(kept);
    await freezeDiskOff(this);
    return kept;
  }

  /**
   * Durable before a guest goes on: from then on the disk is no longer that of the memory, or of the image; that of a spare which
   * had its root mounted already takes the place of one that nothing was written to.
   */
  async commitStart({ guest, memory }: Origin, mac = this.#record.mac): Promise<void> {
    const disk: DiskRecord = {
      ...this.disk,
      content: 'changed',
      ...(guest === 'set up' && { top: spareTop }),
    };
    if (guest !== 'sealed') {
      await this.#set({ mac, disk, memory: await adoptMemory(this.places.memory, memory, 'layers') });
      return;
    }
    const kept = this.#record.memory;
    if (kept) await this.#set({ disk, memory: { ...kept, state: 'trying' } });
  }

  /** The start from kept memory worked: what is left of it is what the machine is mapped from. */
  async useUpMemory(): Promise<void> {
    const { memory } = this.#record;
    if (memory?.state !== 'trying') return;
    await this.#set({ memory: { ...memory, state: 'used', device: null } });
    await rm(join(this.places.memory, stateFile), { force: true });
  }

  /** After a start from kept memory that came to nothing: what its guest wrote is thrown away, and the memory fits the disk again. */
  async takeBackStart(): Promise<void> {
    const { disk, memory } = this.#record;
    if (memory?.state !== 'trying') return;
    await makeTop(this.places.disk, disk, undefined);
    await this.#set({ memory: { ...memory, state: 'kept' } });
  }

  /** Of a disk that a spare's took the place of. */
  async removeFirstTop(): Promise<void> {
    await removeTop(this.places.disk, { ...this.disk, top: spareTop - 1 });
  }

  /**
   * Makes memory that was written into the VM's own directory what the next start goes on from. When it throws, {@link memoryState}
   * tells whether it is that all the same, because the disk failed at the last step and again when that was taken back.
   */
  async keep({ layers, device, facts }: KeptMemory): Promise<void> {
    const named = layers.map(({ path, digest }) => ({ file: basename(path), digest }));
    const earlier = Object.fromEntries(
      Object.entries(this.#record.memory?.seals ?? {}).filter(([name]) =>
        named.some(({ file }) => file === name),
      ),
    );
    const written = [...named.map(({ file }) => file).filter((file) => !earlier[file]), stateFile];
    const seals = { ...earlier, ...(await sealsOf(this.places.memory, written)) };
    await this.#set({
      memory: { layers: named, seals, state: 'kept', device: device.digest, facts: { ...facts } },
    });
  }

  /**
   * What a snapshot's memory builds on: the snapshot before it when that was of this very run, so that only what changed since is
   * written; else what the machine is mapped from.
   *
   * @param lastLayer digest of the highest layer of the last snapshot of this run
   */
  layersBelow(
    parent: { dir: string; manifest: SnapshotManifest } | undefined,
    lastLayer: string | null | undefined,
  ): readonly KeptLayer[] {
    const theirs = parent && snapshotMemory(parent.dir, parent.manifest)?.layers;
    return theirs && theirs.at(-1)?.digest.sha256 === lastLayer ? theirs : this.layers;
  }

  /** Removes what work that was cut short has left beside the files on record. */
  async removeOthers(): Promise<void> {
    const { disk } = this;
    await removeOthers(this.places.disk, [...disk.layers.map(({ file }) => file), layerFile(disk.top)]);
    await this.removeOtherMemory();
  }

  async removeOtherMemory(): Promise<void> {
    const { memory } = this.#record;
    const state = memory?.device ? [stateFile] : [];
    await removeOthers(this.places.memory, [...(memory?.layers.map(({ file }) => file) ?? []), ...state]);
  }

  /** Whole or not at all: whatever fails, the record in memory is the one on disk. */
  async #set(change: Partial<VmRecord>): Promise<void> {
    const record = { ...this.#record, ...change };
    try {
      await writeVmRecord(this.places.recordPath, record);
      this.#record = record;
    } catch (error) {
      await this.#putBack(record);
      throw storageError(this.places.recordPath, error);
    }
  }

  /**
   * After a record that could not be written: it may be in place already, and only its name not be synced. When a disk that fails does
   * not take the one before it either, the new one is the truth.
   */
  async #putBack(failed: VmRecord): Promise<void> {
    const { recordPath } = this.places;
    try {
      await writeVmRecord(recordPath, this.#record);
    } catch {
      // The first error is the one that is told.
      if (await isOnDisk(recordPath, failed)) this.#record = failed;
    }
  }
}
