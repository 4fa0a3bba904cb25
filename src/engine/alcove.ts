import type { AlcoveError } from '../errors.ts';
import type { ExecResult } from '../guest/index.ts';
import type { Image, ImageCallOptions, ImageSource } from '../images/index.ts';
import type { SessionOptions, Sessions } from '../sessions/index.ts';
import type {
  CallOptions,
  DiskUsage,
  GarbageOptions,
  GarbageReport,
  LineageNode,
  RestoreSpec,
  RunOptions,
  SnapshotInfo,
  SnapshotRef,
  SpareInfo,
  Vm,
  VmInfo,
  VmSpec,
  WarmOptions,
  WarmSpec,
  WarmStats,
} from '../vm/index.ts';
import type { CachedExecution } from './cached-execution.ts';
import type { DoctorReport } from './doctor.ts';
import type { RunSource } from './run-in-new-vm.ts';

/**
 * Everything Alcove can do with one state directory. Disposing lets go of it: running VMs run on, and the next engine
 * adopts them.
 */
export interface Alcove extends AsyncDisposable, CachedExecution {
  readonly stateDir: string;
  /** What was found and mended when the engine opened; empty after a clean end. */
  readonly mended: readonly string[];

  /** Makes a VM; it is `created`, not running. */
  create(spec: VmSpec, options?: CallOptions): Promise<Vm>;
  /** Makes a VM from a snapshot. */
  restore(snapshot: SnapshotRef, spec?: RestoreSpec, options?: CallOptions): Promise<Vm>;
  /** A VM by id. @throws AlcoveError `VmNotFound` */
  vm(id: string): Promise<Vm>;
  get(id: string): Promise<VmInfo | undefined>;
  /** Sorted by id. */
  list(options?: { labels?: Record<string, string>; destroyed?: 'include' | 'leave-out' }): Promise<VmInfo[]>;
  /** Creates, starts, runs, destroys: a command in a machine of its own. The VM is gone on every way out. */
  run(
    source: RunSource,
    command: RunOptions,
    options?: CallOptions & { around?: AroundRun },
  ): Promise<ExecResult>;

  readonly snapshots: {
    /** In creation order. @param options.vmId those of the VM that has this id now; when none has it, of those that had it */
    list(options?: { vmId?: string }): Promise<SnapshotInfo[]>;
    get(ref: SnapshotRef): Promise<SnapshotInfo | undefined>;
    /** Where each snapshot and VM comes from. @param options.vmId only the trees in which it or a snapshot of it stands */
    tree(options?: { vmId?: string }): Promise<LineageNode[]>;
    /** @throws AlcoveError `SnapshotNotFound`, `SnapshotInUse` */
    remove(ref: SnapshotRef): Promise<void>;
    /**
     * Reads all bytes of a snapshot and compares them with what was recorded. A restore reads only files that look as if they had
     * been changed.
     *
     * @throws AlcoveError `SnapshotCorrupt`, which names the file
     */
    verify(ref: SnapshotRef, options?: CallOptions): Promise<SnapshotInfo>;
    /**
     * A snapshot with all that a restore elsewhere needs, image and kernel included, as the bytes of one file; the same ones each time.
     * Errors come while it is iterated.
     *
     * @example
     * await writeFile('web.alcove', alcove.snapshots.export('web/before'));
     */
    export(ref: SnapshotRef, options?: CallOptions): AsyncIterable<Uint8Array>;
    /**
     * Takes in what `export` gave, after comparing every byte of it; all of it or nothing.
     *
     * @param options.as what it is called here @default as where it was exported
     * @throws AlcoveError `ArchiveInvalid`, `SnapshotAlreadyExists`, `StateUnusable`, and what reading `archive` throws
     * @example
     * await alcove.snapshots.import(createReadStream('web.alcove'), { as: 'web/imported' });
     */
    import(
      archive: AsyncIterable<Uint8Array>,
      options?: CallOptions & { as?: SnapshotRef },
    ): Promise<SnapshotInfo>;
  };
  /** Machines made ahead of need: the next start that one of them fits takes it, and is little more than letting it go on. */
  readonly warm: {
    /** Makes some, one after the other. They wait until a start takes them, also when the engine closes; when one cannot be made, those before it stay. */
    fill(spec: WarmSpec, options?: CallOptions): Promise<SpareInfo[]>;
    /** Those that wait, oldest first. */
    list(): Promise<SpareInfo[]>;
    /** Ends those that wait: the named ones, or all. @throws AlcoveError `SpareNotFound`; then none was ended */
    drop(ids?: readonly string[]): Promise<void>;
    /** Counts since the engine opened. */
    stats(): Promise<WarmStats>;
    /** Resolves when none is being made or ended. */
    settled(): Promise<void>;
  };
  /** A machine per session id that is still there tomorrow. */
  readonly sessions: Sessions;
  readonly images: {
    add(source: ImageSource, options?: ImageCallOptions & { name?: string }): Promise<Image>;
    resolve(reference: string, options?: ImageCallOptions): Promise<Image>;
    find(reference: string): Promise<Image | undefined>;
    list(): Promise<Image[]>;
    remove(reference: string): Promise<void>;
  };

  /** What the state directory takes of the disk. Looks at every file of it. */
  diskUsage(options?: CallOptions): Promise<DiskUsage>;
  /**
   * Removes what nothing needs: leftovers, snapshots that only a fork needed, templates, caches and kernels that are no longer used.
   * Snapshots that a user took stay, and images, unless they are asked for. With `dryRun` it only says what would go, and why.
   */
  collectGarbage(options?: CallOptions & GarbageOptions): Promise<GarbageReport>;
}

/** Work in the machine of {@link Alcove.run} before and after the command, e.g. copying files. `after` runs whatever the command's exit. */
export interface AroundRun {
  before?(vm: Vm): Promise<void>;
  after?(vm: Vm): Promise<void>;
}

export interface OpenOptions {
  /** @default `$XDG_STATE_HOME/alcove` */
  stateDir?: string;
  backend?: 'qemu' | 'memory';
  /**
   * Makes machines ahead of need, as VMs are started: so many for each image, shape and memory snapshot in use. `{}` is on, with
   * the configuration's numbers. @default as configured: off
   */
  warm?: Partial<WarmOptions>;
  /** Goes over the configuration, option by option. @default as configured */
  sessions?: Partial<SessionOptions>;
  /** How long to wait for another process to let go of the state directory, in ms. @default 0 */
  lockWaitMs?: number;
  /** Told, at each try, who has it. */
  onLocked?: (error: AlcoveError<'StateLocked'>) => void;
  signal?: AbortSignal;
}

export type { CallOptions, DoctorReport, Vm };
