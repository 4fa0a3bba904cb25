/**
 * The contract between the VM runtime and a hypervisor. This comment is its specification; `test/conformance/`
 * runs every backend through it.
 *
 * **Who enforces what.** The runtime (`src/vm`) owns ids, statuses, the transition table, ordering, admission, the
 * database and the journal. A backend does only the physical work. It may trust that calls on one VM never overlap,
 * that calls come in legal states (except `destroy`, which must work in every state, also half-made), and that ids
 * are well-formed. Calls on different VMs do overlap.
 *
 * **Places.** Each VM gets a directory (`dir`) that exists, is empty at `create`, and belongs to the backend alone; each
 * snapshot likewise. Everything durable about a VM lies in its `dir`; whatever lies elsewhere (processes, sockets, cgroups)
 * must be findable from `dir`, `runtimeDir` and the id, without the handle: the engine may die between any two
 * instructions. The runtime removes `dir` after `destroy`.
 *
 * **Handles.** A {@link BackendHandle} is opaque JSON that the runtime stores after every call and gives back to
 * `recover`. It is a hint: it may be one call older than the truth, and `recover` finds out the truth.
 *
 * **Atomicity.** A call that rejects has left things as they were before it, as far as the VM's user can see: after a failed
 * `start` nothing runs; after a failed `snapshot` the VM runs on and the snapshot directory may be deleted; after a
 * failed `create` or `restore` nothing is left outside `dir`. After a failed `stop`, `pause` or `resume` the backend
 * tells the truth by {@link BackendVm.observe}.
 *
 * **Errors.** Anticipated failures are `AlcoveError`s: `BackendUnavailable`, `VmFailed` (the machine died or never came
 * up; the message carries the last console lines), `GuestUnreachable`, `Unsupported`, `SnapshotIncompatible`,
 * `SnapshotCorrupt`, `StateUnusable`, `Cancelled`.
 */
import type { GuestChannel, GuestNetwork } from '../guest/index.ts';
import type { GuestKernel } from '../images/index.ts';
import type { Durability } from '../store/index.ts';

export interface VmBackend {
  /** Stable name: `memory`, `qemu`. Stored with every VM and snapshot. */
  readonly name: string;
  /** Whether it can be used here, and what it can do. Never throws for a missing tool: it says so. May be slow the first time; the answer is remembered per host boot. */
  probe(options?: BackendCallOptions): Promise<BackendProbe>;
  /** Called once when an engine opens, before anything else: mends what an earlier one left beside VMs and spares. Returns what was mended, in sentences for people. */
  open?(): Promise<string[]>;
  /** Makes a VM that is not running, its disk as the image says. */
  create(request: CreateRequest, options?: BackendCallOptions): Promise<BackendVm>;
  /** Makes a VM that is not running, from a snapshot's bytes; a later `start` continues memory where the snapshot has it. The snapshot is not changed and may be restored any number of times, also at once. */
  restore(request: RestoreRequest, options?: BackendCallOptions): Promise<BackendVm>;
  /**
   * Finds a VM again after a restart of the engine: adopts what runs, ends what is half-made, and says what is there. A machine
   * that runs and does not answer is left alone, with `VmFailed`: a later call may find it well.
   */
  recover(request: RecoverRequest, options?: BackendCallOptions): Promise<BackendVm>;
  /**
   * Ends everything this backend ever started for `id` in this state directory, without a handle: for directories
   * that no row knows, and for a machine that is there but that `recover` cannot reach (`VmFailed`). What lies in `dir` stays,
   * the disk too: a later `recover` finds the VM off. Idempotent.
   */
  reap(request: { id: string; dir: string }): Promise<void>;
  /** Machines made ahead of need. Absent: it makes none. */
  readonly spares?: SpareMaker;
  /** What it keeps beside VMs and snapshots, so that making them is fast: all of it can be made again. Absent: nothing. */
  readonly keepsakes?: Keepsakes;
}

/**
 * Makes *spares*: machines brought as far as they can be before it is known for which VM, so that a `start` that takes one
 * over has little left to do. A spare is nobody's: it has no row, runs no command, and is never used twice. Its processes survive
 * the engine; everything of it is findable from its `dir`, as a VM's is.
 */
export interface SpareMaker {
  /**
   * Makes one in `dir`, which exists, is empty, and belongs to it; resolves when it waits to be taken. Nothing is left outside
   * `dir` when it rejects.
   */
  make(request: SpareRequest, options?: BackendCallOptions): Promise<Spare>;
  /**
   * Finds the spare of a directory again after a restart; never asked of one that a start has taken over. One that is not whole is
   * ended, also when its directory is gone: `undefined`.
   */
  recover(request: { id: string; dir: string }): Promise<Spare | undefined>;
  /**
   * Names of the spares that the next start of a VM could take over, the best first: with one of the first name nothing is left to
   * do but to let it go on. Changes with the VM's state.
   */
  keysFor(vm: BackendVm): readonly SpareKey[];
}

/** Begins with the kind, so that it is known what to make where there is none; the rest is the backend's. */
export type SpareKey = `${SpareRequest['kind']}:${string}`;

/** What a spare is for: any VM of a shape; a VM of that shape that starts from that untouched image; a copy of a memory snapshot. */
export type SpareRequest = { id: string; dir: string; shape: MachineShape } & (
  | { kind: 'shape' }
  | { kind: 'image'; image: MachineImage }
  | { kind: 'memory'; snapshot: SnapshotSource }
);

export interface Spare {
  readonly id: string;
  readonly dir: string;
  /** See {@link SpareMaker.keysFor}. */
  readonly key: SpareKey;
  readonly kind: SpareRequest['kind'];
  readonly shape: Pick<MachineShape, 'cpus' | 'memoryMiB'>;
  /** Resolves when it has ended by itself, with the reason; never when it was taken or disposed of. */
  readonly ended: Promise<string>;
  /** Ends it and everything of it outside `dir`. Does nothing once it was taken. */
  dispose(): Promise<void>;
  /** Lets go of it without ending it. */
  release(): Promise<void>;
}

/** Templates and caches of a backend. */
export interface Keepsakes {
  list(): Promise<Keepsake[]>;
  /** Removes one, unless something uses it by now: then `false`. Whole or not at all, whenever the engine dies. */
  remove(name: string): Promise<boolean>;
}

export interface Keepsake {
  /** Unique in its backend. */
  name: string;
  kind: 'template' | 'memory-image' | 'blank-disk';
  /** For people: what it is of, e.g. `1 cpu, 256 MiB, kernel 6.1.0-56-cloud-amd64`. */
  of: string;
  /** Its files; their disk use is counted from them. */
  paths: readonly string[];
  lastUsedMs: number;
  /** `undefined` when it can go. Else why it stays: in use, or of use to the next start as things are now. */
  neededBy: string | undefined;
}

export interface BackendCallOptions {
  signal?: AbortSignal;
  /** Told what a slow call is doing, in words for people; a new step ends the one before. */
  onProgress?: (step: string) => void;
}

export type BackendProbe =
  | { usable: true; version: string; facts: Record<string, string>; capabilities: BackendCapabilities }
  | { usable: false; reason: string; remedy: string };

/** What a backend may lack. Absent means it cannot. */
export interface BackendCapabilities {
  /** Snapshots of running and paused VMs hold memory; `stop({ memory: true })` works. */
  memorySnapshots?: true;
  /** `network: 'user'` works. */
  userNetwork?: true;
  pause?: true;
}

/** Opaque to the runtime; must survive `JSON.stringify`. */
export type BackendHandle = { readonly [key: string]: unknown };

/** The physical shape of a machine, with every default filled in and checked. */
export interface MachineShape {
  cpus: number;
  memoryMiB: number;
  diskMiB: number;
  network: 'none' | 'user';
  kernel: GuestKernel;
  /** Extra kernel arguments, after the backend's own. */
  bootArgs: readonly string[];
}

export interface MachineImage {
  /** `sha256:<hex>`: the image's name. */
  digest: string;
  /** Read-only squashfs. */
  rootfsPath: string;
}

export interface CreateRequest {
  id: string;
  dir: string;
  shape: MachineShape;
  image: MachineImage;
}

export interface RestoreRequest extends CreateRequest {
  snapshot: SnapshotSource;
  /** Whether the memory that the snapshot has is taken too. Only the disk of one made elsewhere may be restorable here. */
  memory: 'include' | 'exclude';
}

export interface RecoverRequest extends CreateRequest {
  handle: BackendHandle | undefined;
}

/** A snapshot as it lies on disk, with its ancestors, newest first. Their directories are immutable. */
export interface SnapshotSource {
  dir: string;
  manifest: SnapshotManifest;
  ancestors: readonly { dir: string; manifest: SnapshotManifest }[];
}

/** Written by the backend at `snapshot`, stored by the runtime in the snapshot's directory and row. */
export interface SnapshotManifest {
  formatVersion: 1;
  backend: string;
  backendVersion: string;
  kind: 'disk' | 'disk+memory';
  /** Digest of the image below the disk. */
  imageDigest: string;
  shape: Pick<MachineShape, 'cpus' | 'memoryMiB' | 'diskMiB' | 'network'>;
  /** Facts that must be the same at restore, by name (accelerator, CPU model, kernel and agent digests, device layout, …). */
  facts: Readonly<Record<string, string>>;
  /** Every file of the snapshot's directory, by name. */
  files: Readonly<Record<string, { sizeBytes: number; sha256: string }>>;
  /** Whether the files of this snapshot build on the snapshot before it in the VM's line, so that that one must be kept. */
  needsParent: boolean;
}

/** What is physically there: `off` (a disk, no process), `running`, `paused`, or `suspended` (off, with memory kept). */
export type PhysicalState = 'off' | 'running' | 'paused' | 'suspended';

export interface BackendVm {
  readonly id: string;
  /** Current handle; read by the runtime after every call. */
  readonly handle: BackendHandle;
  /** The truth as far as it can be seen now. A machine that runs and does not say how it is is not `off`: `VmFailed`, and the VM keeps its status. */
  observe(): Promise<PhysicalState>;
  /**
   * Boots (or continues kept memory) and resolves when commands can run. Own deadline; on failure nothing runs.
   * `env`, `user` and `workdir` are not its concern.
   */
  start(request: StartRequest, options?: BackendCallOptions): Promise<void>;
  /** Ends it: asks the guest, waits `graceMs`, then ends it by force. The disk is kept and clean where the guest helped. With `memory`, its processes are kept for the next start (only with the capability). */
  stop(request: { graceMs: number; memory?: true }, options?: BackendCallOptions): Promise<void>;
  pause?(options?: BackendCallOptions): Promise<void>;
  resume?(options?: BackendCallOptions): Promise<void>;
  /**
   * Captures the VM at one instant into `dir` (exists, empty): of a running one with the guest's filesystems flushed and
   * frozen for that instant, and goes on afterwards, also when the capture fails. Files in `dir` are synced when it resolves, unless `durability` asks for less.
   * Content that builds on `parent`, the snapshot before it in this VM's line, is allowed (`needsParent`), and on no
   * other; `parent` is absent when there is none, or it was removed. With `memory: 'include'`, memory is kept where there is
   * any: of a running, paused or suspended VM, and of one restored with memory that was not started yet. The VM itself must
   * not depend on `dir` afterwards: a snapshot that nothing else needs may be removed while the VM exists.
   */
  snapshot(
    request: {
      dir: string;
      memory: 'include' | 'exclude';
      parent?: { dir: string; manifest: SnapshotManifest };
      /** Whether files are synced. @default 'machine' */
      durability?: Durability;
    },
    options?: BackendCallOptions,
  ): Promise<SnapshotManifest>;
  /** Ends everything outside `dir`. Idempotent, from every state, also after failures. Never rejects because something was gone already. */
  destroy(): Promise<void>;
  /** The guest of a running VM; the same channel at each call while it lasts. `GuestUnreachable` otherwise. */
  guest(options?: BackendCallOptions): Promise<GuestChannel>;
  /** The last part of the console, bounded, as text; of the current or the last run. */
  console(): Promise<string>;
  /** Calls back once each time the machine ends without `stop` or `destroy` having been asked, with a reason for people. Returns how to stop listening. */
  onExit(listener: (reason: string) => void): () => void;
  /** Lets go of the VM without ending it: closes sockets and files of this process; the machine runs on, to be recovered. */
  release(): Promise<void>;
}

export interface StartRequest {
  hostname: string;
  machineId: string;
  network?: GuestNetwork;
  /** To take over; its `dir` becomes part of the VM's. It is used up, also when the start fails. */
  spare?: Spare;
}
