import { AlcoveError } from '../errors.ts';

/** Hard limits over all VMs of one engine. */
export interface VmLimits {
  /** VMs that exist or are being made. */
  vms: number;
  /** Memory of VMs that run, are paused, or are starting. */
  memoryMiB: number;
  /** Virtual disk size of VMs that exist or are being made. */
  diskMiB: number;
}

interface Holding {
  diskMiB: number;
  memoryMiB: number;
}

/**
 * Who holds how much of the limits. Room is taken before anything is made and given back once.
 *
 * - From the moment it is being made until it is destroyed, a VM holds one of `vms` and its `diskMiB`.
 * - From the moment it is being started until it has stopped, it holds its `memoryMiB` too; paused counts, stopped does not,
 *   with memory kept or without: kept memory lies on disk.
 * - A machine made ahead of need holds memory, too, but only what no VM asks for: it is given up for one that does.
 * - Snapshots hold nothing: their size is not known before they are made, and the file system itself bounds them.
 */
export class Admission {
  readonly limits: Readonly<VmLimits>;
  readonly #holdings = new Map<string, Holding>();
  /** Memory of machines made ahead of need, by id. */
  readonly #spares = new Map<string, number>();

  constructor(limits: VmLimits) {
    this.limits = limits;
  }

  /** What VMs have taken. */
  get taken(): VmLimits {
    let memoryMiB = 0;
    let diskMiB = 0;
    for (const holding of this.#holdings.values()) {
      memoryMiB += holding.memoryMiB;
      diskMiB += holding.diskMiB;
    }
    return { vms: this.#holdings.size, memoryMiB, diskMiB };
  }

  /**
   * Takes room for a VM that is about to be made.
   *
   * @param request.memoryMiB only compared with the limit: what could never start is not made
   * @throws AlcoveError `AtCapacity`
   */
  takeVm(id: string, request: { diskMiB: number; memoryMiB: number }): void {
    const { taken, limits } = this;
    this.#require(id, 'vms', 1, taken.vms);
    this.#require(id, 'diskMiB', request.diskMiB, taken.diskMiB);
    if (request.memoryMiB > limits.memoryMiB)
      throw atCapacity(id, 'memoryMiB', limits.memoryMiB, request.memoryMiB, taken.memoryMiB);
    this.#holdings.set(id, { diskMiB: request.diskMiB, memoryMiB: 0 });
  }

  /**
   * Takes memory for a VM that is about to start; nothing more for one that holds it already.
   *
   * @returns whether it has it now; `false` when only spares are in its way
   * @throws AlcoveError `AtCapacity`
   */
  takeMemory(id: string, memoryMiB: number): boolean {
    const holding = this.#holdings.get(id);
    if (!holding || holding.memoryMiB > 0) return true;
    this.#require(id, 'memoryMiB', memoryMiB, this.taken.memoryMiB);
    if (!this.hasRoomForSpare(memoryMiB)) return false;
    holding.memoryMiB = memoryMiB;
    return true;
  }

  /** Memory of the machines made ahead of need, in MiB. */
  get sparesMiB(): number {
    let memoryMiB = 0;
    for (const spare of this.#spares.values()) memoryMiB += spare;
    return memoryMiB;
  }

  hasRoomForSpare(memoryMiB: number): boolean {
    return this.taken.memoryMiB + this.sparesMiB + memoryMiB <= this.limits.memoryMiB;
  }

  /**
   * Takes memory for a machine that is made ahead of need.
   *
   * @throws AlcoveError `AtCapacity`
   */
  takeSpare(id: string, memoryMiB: number): void {
    const taken = this.taken.memoryMiB + this.sparesMiB;
    const max = this.limits.memoryMiB;
    if (!this.hasRoomForSpare(memoryMiB)) throw atCapacity(id, 'memoryMiB', max, memoryMiB, taken);
    this.#spares.set(id, memoryMiB);
  }

  /** Records what one that was found at open holds, limit or no limit. */
  adoptSpare(id: string, memoryMiB: number): void {
    this.#spares.set(id, memoryMiB);
  }

  releaseSpare(id: string): void {
    this.#spares.delete(id);
  }

  /** Records what a VM that was found at open holds, limit or no limit: it is there. */
  adopt(id: string, holding: Holding): void {
    this.#holdings.set(id, { ...holding });
  }

  releaseMemory(id: string): void {
    const holding = this.#holdings.get(id);
    if (holding) holding.memoryMiB = 0;
  }

  releaseVm(id: string): void {
    this.#holdings.delete(id);
  }

  #require(id: string, limit: keyof VmLimits, asked: number, taken: number): void {
    const max = this.limits[limit];
    if (taken + asked > max) throw atCapacity(id, limit, max, asked, taken);
  }
}

function atCapacity(id: string, limit: keyof VmLimits, max: number, asked: number, taken: number) {
  return new AlcoveError(
    'AtCapacity',
    `no room for ${id}: it asks for ${asked} of ${limit}, ${taken} of ${max} are taken`,
    { details: { limit, max, asked, taken } },
  );
}
