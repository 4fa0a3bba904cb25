export type { RunOptions } from '../guest/index.ts';

/** Statuses as users see them. */
export type VmStatus = 'created' | 'running' | 'paused' | 'stopped' | 'destroyed';

/** What to make. Every field is optional but the image; numbers are checked against the host before anything is made. */
export interface VmSpec {
  /** `[a-z0-9][a-z0-9-]{0,62}`. @default generated */
  id?: string;
  /** Reference or digest of an image. */
  image: string;
  /** @default 1 */
  cpus?: number;
  /** @default 256 */
  memoryMiB?: number;
  /** Virtual size of the writable layer; sparse. @default 2048 */
  diskMiB?: number;
  /** @default 'none' */
  network?: 'none' | 'user';
  /** For every command, over the image's. */
  env?: Record<string, string>;
  labels?: Record<string, string>;
  kernel?: string;
  modules?: string;
  initramfs?: string;
  bootArgs?: string[];
}

/** What may differ in a VM made from a snapshot. */
export type RestoreSpec = Pick<VmSpec, 'id' | 'env' | 'labels'> & {
  /** Whether it goes on from the snapshot's memory, where it has one, or boots from its disk. @default 'include' */
  memory?: 'include' | 'exclude';
};

/** A VM as it is listed. */
export interface VmInfo {
  id: string;
  status: VmStatus;
  /** Why it is stopped, when it was not asked to. */
  reason?: string;
  backend: string;
  image: { reference: string; digest: string };
  /** The snapshot it was made from. */
  from?: SnapshotRef;
  cpus: number;
  memoryMiB: number;
  diskMiB: number;
  network: 'none' | 'user';
  env: Record<string, string>;
  labels: Record<string, string>;
  createdAtMs: number;
  /** When it last became its status. */
  changedAtMs: number;
  snapshots: string[];
}

/** A snapshot's full name: `<vm id>/<snapshot id>`. */
export type SnapshotRef = `${string}/${string}`;

/** What something takes of the host's disk: blocks, not the sizes that files claim. Copies that share blocks by reflink count in full. */
export interface DiskUse {
  /** All of it, what it shares with others included. */
  sizeBytes: number;
  /** What nothing else uses: as much is free when it goes. */
  ownBytes: number;
}

export interface SnapshotInfo extends DiskUse {
  /** Unique per VM id, also over VMs that have the id one after the other. */
  id: string;
  vmId: string;
  ref: SnapshotRef;
  /** Whether the VM it was taken of is still there. Snapshots outlive it; a later VM of its id is another one, and does not list them. */
  vm: 'here' | 'gone';
  kind: 'disk' | 'disk+memory';
  /** The snapshot its bytes build on. */
  parent?: SnapshotRef;
  /** Those that a fork or an import made by the way go with the last VM or snapshot that needs them. */
  lifetime: 'until removed' | 'while needed';
  imageDigest: string;
  /** Those that begin with `alcove.` are Alcove's own: `alcove.cache` is on snapshots that actions made. */
  labels: Record<string, string>;
  createdAtMs: number;
}

/** What starts from a snapshot has of it. */
export interface SnapshotFacts {
  /** `sha256:<hex>` over its content: the image and the bytes on top. */
  digest: string;
  imageDigest: string;
  backend: string;
  kind: SnapshotInfo['kind'];
  labels: Readonly<Record<string, string>>;
  /** Of every command, the image's included. */
  env: Readonly<Record<string, string>>;
  workdir?: string;
  user?: string;
  machine: { cpus: number; memoryMiB: number; diskMiB: number; network: 'none' | 'user' };
}

/** One of the VMs a fork asked for. */
export type ForkResult = { id: string; vm: VmInfo } | { id: string; error: Error };
