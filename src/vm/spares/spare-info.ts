import type { SnapshotRef, VmSpec } from '../vm.ts';
import type { SpareKind, SpareRecord } from './spare-records.ts';

/** A machine that waits for a VM, as it is listed. */
export interface SpareInfo {
  id: string;
  /** What can take it: any VM of its shape; one of that shape that starts from that image for the first time; one that goes on from that snapshot. */
  kind: SpareKind;
  backend: string;
  image?: { reference: string; digest: string };
  snapshot?: SnapshotRef;
  cpus: number;
  memoryMiB: number;
  network: 'none' | 'user';
  /** Whether somebody asked for it, or the engine made it by itself. */
  filledBy: 'hand' | 'pool';
  createdAtMs: number;
}

/**
 * What to make ahead of need: for VMs of an image, for VMs restored from a snapshot with memory, or, with neither, for any VM of
 * the shape. Numbers must be those of the VMs that are to take it; the defaults are the same.
 */
export type WarmSpec = Pick<
  VmSpec,
  'cpus' | 'memoryMiB' | 'diskMiB' | 'network' | 'kernel' | 'modules' | 'initramfs' | 'bootArgs'
> & {
  image?: string;
  /** Its shape is the snapshot's. */
  snapshot?: SnapshotRef;
  /** @default 1 */
  count?: number;
};

/** Why a spare was ended unused. */
export type GiveUpReason =
  /** Nobody had asked for one like it for `idleMs`. */
  | 'idle'
  /** A VM needed its memory. */
  | 'room'
  /** It was beyond `max` or `memoryMiB`, or made room for another within them. */
  | 'bounds'
  /** The host ran short of memory. */
  | 'host memory'
  /** The host ran short of disk. */
  | 'host disk'
  /** It ended by itself. */
  | 'died'
  /** Its image or snapshot was removed. */
  | 'stale'
  /** Somebody asked for it to go. */
  | 'dropped'
  /** The engine closed. */
  | 'closed';

/** Counts since the engine opened. */
export interface WarmStats {
  /** Machines that wait now. */
  waiting: number;
  /** Found waiting when the engine opened. */
  found: number;
  made: number;
  /** Could not be made. */
  failed: number;
  /** Starts that were given one. */
  claims: Record<SpareKind, number>;
  /** Of those, how many could not use it, and went on without. */
  unusable: number;
  /** Starts that found none. */
  misses: number;
  givenUp: Record<GiveUpReason, number>;
}

export function newStats(): Omit<WarmStats, 'waiting'> {
  return {
    found: 0,
    made: 0,
    failed: 0,
    claims: { shape: 0, image: 0, memory: 0 },
    unusable: 0,
    misses: 0,
    givenUp: {
      idle: 0,
      room: 0,
      bounds: 0,
      'host memory': 0,
      'host disk': 0,
      died: 0,
      stale: 0,
      dropped: 0,
      closed: 0,
    },
  };
}

export function spareInfo({ id, origin, recipe, createdAtMs }: SpareRecord): SpareInfo {
  const { cpus, memoryMiB, network } = recipe.shape;
  return {
    id,
    kind: recipe.kind,
    backend: recipe.backend,
    ...(recipe.kind === 'image' && { image: recipe.image }),
    ...(recipe.kind === 'memory' && { snapshot: recipe.snapshot.ref }),
    cpus,
    memoryMiB,
    network,
    filledBy: origin,
    createdAtMs,
  };
}
