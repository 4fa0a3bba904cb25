import { randomBytes } from 'node:crypto';
import { AlcoveError } from '../errors.ts';
import {
  type ExecRequest,
  type ExecResult,
  type GuestChannel,
  type GuestProcess,
  type RunOptions,
  runCommand,
} from '../guest/index.ts';
import { type Clock, systemClock } from '../host/index.ts';
import type { ImageStore, KernelStore } from '../images/index.ts';
import type { Database } from '../store/index.ts';
import { Admission, type VmLimits } from './admission.ts';
import type { BackendCallOptions, BackendCapabilities, VmBackend } from './backend.ts';
import { destroyVm } from './destroy-vm.ts';
import type { Failpoint } from './failpoints.ts';
import { type ForkOptions, forkVm } from './fork-vm.ts';
import { attachCommand, reachGuest, readConsole, spawnCommand } from './guest-access.ts';
import { defaultLimits, type HostFacts, readHostFacts } from './host-facts.ts';
import { parseSnapshotRef, type Random } from './ids.ts';
import { Journal } from './journal.ts';
import { Lanes } from './lanes.ts';
import { pauseVm, resumeVm, type StopOptions, startVm, stopVm } from './lifecycle.ts';
import { Machines } from './machine.ts';
import { createVm, restoreVm } from './make-vm.ts';
import { vmMigrations } from './migrations.ts';
import { Pins } from './pins.ts';
import { recoverVms } from './recovery.ts';
import { removeSnapshot } from './remove-snapshot.ts';
import { Backends, type RuntimeContext, type VmPlaces } from './runtime-context.ts';
import { SnapshotRecords, snapshotInfo } from './snapshot-records.ts';
import { newSnapshotUid, type SnapshotOptions, takeSnapshot } from './take-snapshot.ts';
import { vmNotFound } from './transitions.ts';
import type { ForkResult, RestoreSpec, SnapshotInfo, SnapshotRef, VmInfo, VmSpec } from './vm.ts';
import { vmInfo } from './vm-info.ts';
import { VmRecords } from './vm-records.ts';

export interface VmRuntimeOptions {
  database: Database;
  /** Directories that belong to this runtime alone, and exist. */
  stateDir: VmPlaces;
  backends: readonly VmBackend[];
  /** Name of the one that makes new VMs; a VM made from a snapshot gets the snapshot's. */
  defaultBackend: string;
  images: ImageStore;
  kernels: KernelStore;
  /** @default the system's */
  clock?: Clock;
  /** Those given replace the host's, which are: 256 VMs, all memory but 512 MiB, as much disk as the file system has. */
  limits?: Partial<VmLimits>;
  /** @default the operating system's */
  random?: Random;
  /** @default read from this machine */
  hostFacts?: HostFacts;
  /** How long a destroyed VM stays listed, in ms. @default 1 hour */
  retentionMs?: number;
  /** Told what could not be reported to a caller. @default a warning of the process */
  warn?: (message: string) => void;
  /** For crash tests. @default nothing happens */
  failpoint?: Failpoint;
}

const defaultRetentionMs = 3_600_000;

/**
 * Opens the VM runtime over a state directory that the caller has locked: brings its tables up to date, and finds or
 * mends what an earlier engine left; see {@link VmRuntime.mended}.
 *
 * @throws AlcoveError `StateUnusable`, `StateCorrupt`, `BackendUnavailable` when the default backend is not among those given
 */
export async function openVmRuntime(options: VmRuntimeOptions): Promise<VmRuntime> {
  const { database, failpoint, clock = systemClock } = options;
  database.migrate('vm', vmMigrations);
  const host = options.hostFacts ?? readHostFacts(options.stateDir.root);
  const vms = new VmRecords(database);
  const admission = new Admission({ ...defaultLimits(host), ...options.limits });
  const warn = options.warn ?? ((message) => process.emitWarning(message, 'AlcoveWarning'));
  const context: RuntimeContext = {
    database,
    places: options.stateDir,
    backends: new Backends(options.backends, options.defaultBackend),
    images: options.images,
    kernels: options.kernels,
    clock,
    random: options.random ?? ((bytes) => randomBytes(bytes)),
    host,
    vms,
    snapshots: new SnapshotRecords(database),
    journal: new Journal(database),
    admission,
    lanes: new Lanes(),
    machines: new Machines((id, reason) => recordDeath(context, id, reason)),
    pins: new Pins(),
    warn,
    at: async (name) => failpoint?.(name),
  };
  const mended = await recoverVms(context);
  return new VmRuntime(context, mended, options.retentionMs ?? defaultRetentionMs);
}

/** Makes a VM that died by itself `stopped`, at once, whatever call is under way on it. */
function recordDeath(context: RuntimeContext, id: string, reason: string): void {
  try {
    const status = context.vms.find(id)?.status;
    if (status !== 'running' && status !== 'paused') return;
    context.vms.setStatus(id, 'stopped', reason, context.clock.now());
    context.admission.releaseMemory(id);
  } catch (error) {
    context.warn(`VM ${id} died (${reason}), which could not be recorded: ${(error as Error).message}`);
  }
}

/**
 * The lifecycle of the VMs of one state directory. Every call takes an `AbortSignal`; calls on one VM are taken in order,
 * calls on different VMs run in parallel. Closing lets go of the VMs without ending them.
 */
export class VmRuntime implements AsyncDisposable {
  /** What was mended at open, in sentences for people. */
  readonly mended: readonly string[];
  readonly #context: RuntimeContext;
  readonly #retentionMs: number;
  readonly #closing = new AbortController();

  /** Use {@link openVmRuntime}. */
  constructor(context: RuntimeContext, mended: readonly string[], retentionMs: number) {
    this.#context = context;
    this.mended = mended;
    this.#retentionMs = retentionMs;
  }

  /** Limits, and how much of each is taken, VMs that are being made included. */
  get capacity(): { limits: VmLimits; taken: VmLimits } {
    const { limits, taken } = this.#context.admission;
    return { limits: { ...limits }, taken };
  }

  /** What the backend of new VMs can do here. @throws AlcoveError `BackendUnavailable` */
  async capabilities(): Promise<BackendCapabilities> {
    const { backends } = this.#context;
    return backends.capabilities(backends.default);
  }

  /** Makes a VM from an image. @throws AlcoveError `VmAlreadyExists`, `InvalidInput`, `AtCapacity`, `Unsupported`, `BackendUnavailable`, `ImageNotFound`, … */
  async create(spec: VmSpec, options: BackendCallOptions = {}): Promise<VmInfo> {
    this.#purge();
    return this.#call(options, async (call) => this.#info(await createVm(this.#context, spec, call)));
  }

  /** Makes a VM from a snapshot. @throws AlcoveError as {@link create}, and `SnapshotNotFound`, `SnapshotIncompatible`, `SnapshotCorrupt` */
  async restore(ref: SnapshotRef, spec: RestoreSpec = {}, options: BackendCallOptions = {}): Promise<VmInfo> {
    this.#purge();
    return this.#call(options, async (call) => this.#info(await restoreVm(this.#context, ref, spec, call)));
  }

  /** Makes VMs from one snapshot of a VM, taken now. Each succeeds or fails alone; results are in order. */
  async fork(id: string, count: number, options: ForkOptions = {}): Promise<ForkResult[]> {
    this.#purge();
    return this.#call(options, async (call) => {
      const outcomes = await forkVm(this.#context, id, count, { ...options, ...call });
      return outcomes.map((outcome) =>
        'record' in outcome ? { id: outcome.id, vm: this.#info(outcome.record) } : outcome,
      );
    });
  }

  async start(id: string, options: BackendCallOptions = {}): Promise<VmInfo> {
    return this.#call(options, async (call) => this.#info(await startVm(this.#context, id, call)));
  }

  async stop(id: string, options: StopOptions = {}): Promise<VmInfo> {
    return this.#call(options, async (call) =>
      this.#info(await stopVm(this.#context, id, { ...options, ...call })),
    );
  }

  async pause(id: string, options: BackendCallOptions = {}): Promise<VmInfo> {
    return this.#call(options, async (call) => this.#info(await pauseVm(this.#context, id, call)));
  }

  async resume(id: string, options: BackendCallOptions = {}): Promise<VmInfo> {
    return this.#call(options, async (call) => this.#info(await resumeVm(this.#context, id, call)));
  }

  async destroy(id: string, options: BackendCallOptions = {}): Promise<void> {
    return this.#call(options, (call) => destroyVm(this.#context, id, call));
  }

  async snapshot(id: string, options: SnapshotOptions = {}): Promise<SnapshotInfo> {
    return this.#call(options, async (call) => {
      const made = { uid: newSnapshotUid(this.#context), lifetime: 'kept' } as const;
      const record = await takeSnapshot(this.#context, id, { ...options, ...call }, made);
      return this.#snapshotInfo(record);
    });
  }

  async get(id: string): Promise<VmInfo | undefined> {
    this.#purge();
    const record = this.#context.vms.find(id);
    return record && this.#info(record);
  }

  /** Sorted by id. @param options.destroyed whether those that were destroyed lately are listed too; default 'include' @param options.labels those that have all of these */
  async list(
    options: { labels?: Record<string, string>; destroyed?: 'include' | 'leave-out' } = {},
  ): Promise<VmInfo[]> {
    this.#purge();
    const wanted = Object.entries(options.labels ?? {});
    return this.#context.vms
      .all()
      .filter(({ status }) => status !== 'destroyed' || options.destroyed !== 'leave-out')
      .filter(({ labels }) => wanted.every(([key, value]) => labels[key] === value))
      .map((record) => this.#info(record));
  }

  readonly snapshots = {
    /** In creation order. */
    list: async (options: { vmId?: string } = {}): Promise<SnapshotInfo[]> =>
      this.#context.snapshots
        .all()
        .filter(({ lifetime, vmId }) => lifetime !== 'lost' && vmId === (options.vmId ?? vmId))
        .map((record) => this.#snapshotInfo(record)),
    get: async (ref: SnapshotRef): Promise<SnapshotInfo | undefined> => {
      const { vmId, id } = parseSnapshotRef(ref);
      const record = this.#context.snapshots.find(vmId, id);
      return record && record.lifetime !== 'lost' ? this.#snapshotInfo(record) : undefined;
    },
    /** @throws AlcoveError `SnapshotNotFound`, `SnapshotInUse` */
    remove: async (ref: SnapshotRef): Promise<void> =>
      this.#call({}, () => removeSnapshot(this.#context, ref)),
  };

  /** Digests of the images that VMs and snapshots need, those being made included. */
  imageDigestsInUse(): Set<string> {
    const { vms, snapshots, pins } = this.#context;
    return new Set([...vms.imageDigests(), ...snapshots.imageDigests(), ...pins.names()]);
  }

  /** Runs a command to its end. @throws AlcoveError `CommandTimedOut`, `VmFailed`, `GuestUnreachable`, `CommandNotStarted`, `Cancelled`, … */
  async exec(id: string, command: RunOptions): Promise<ExecResult> {
    const exec = (request: ExecRequest, options?: BackendCallOptions) => this.spawn(id, request, options);
    return runCommand({ exec }, command, { clock: this.#context.clock });
  }

  /** Starts a command and gives its streams. The image's and the VM's env, user and workdir apply. */
  async spawn(id: string, request: ExecRequest, options: BackendCallOptions = {}): Promise<GuestProcess> {
    return this.#call(options, (call) => spawnCommand(this.#context, id, request, call, options.signal));
  }

  /** Joins a detached command again. */
  async attach(id: string, commandId: string, options: BackendCallOptions = {}): Promise<GuestProcess> {
    return this.#call(options, (call) => attachCommand(this.#context, id, commandId, call, options.signal));
  }

  /** The channel of a running VM. @throws AlcoveError `VmNotFound`, `GuestUnreachable` */
  async guest(id: string, options: BackendCallOptions = {}): Promise<GuestChannel> {
    return this.#call(options, async (call) => (await reachGuest(this.#context, id, call)).guest);
  }

  /** The last part of a VM's console, bounded; of the current or the last run. */
  async console(id: string): Promise<string> {
    return this.#call({}, () => readConsole(this.#context, id));
  }

  /**
   * Resolves with the reason when the VM ends without having been asked to; at once when it is stopped for such a reason.
   *
   * @throws AlcoveError `VmNotFound`, also when it is destroyed meanwhile; `Cancelled`
   */
  async exited(id: string, options: { signal?: AbortSignal } = {}): Promise<string> {
    const record = this.#context.vms.find(id);
    if (!record || record.status === 'destroyed') throw vmNotFound(id);
    if (record.status === 'stopped' && record.reason !== undefined) return record.reason;
    return this.#context.machines.of(id).nextDeath(options.signal);
  }

  /** Ends every call under way and lets go of the VMs, which run on. */
  async close(): Promise<void> {
    const closed = engineClosed();
    this.#closing.abort(closed);
    await this.#context.lanes.idle();
    for (const result of await this.#context.machines.release(closed)) {
      if (result.status === 'rejected')
        this.#context.warn(`could not let go of a VM: ${(result.reason as Error).message}`);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Runs a call that also ends when the runtime closes. */
  async #call<T>(options: BackendCallOptions, work: (call: BackendCallOptions) => Promise<T>): Promise<T> {
    const closing = this.#closing.signal;
    if (closing.aborted) throw closing.reason;
    const ended = new AbortController();
    const onAbort = () => ended.abort(options.signal?.reason);
    const onClose = () => ended.abort(closing.reason);
    if (options.signal?.aborted) onAbort();
    options.signal?.addEventListener('abort', onAbort, { once: true });
    closing.addEventListener('abort', onClose, { once: true });
    const { onProgress } = options;
    try {
      return await work({ signal: ended.signal, ...(onProgress && { onProgress }) });
    } finally {
      options.signal?.removeEventListener('abort', onAbort);
      closing.removeEventListener('abort', onClose);
    }
  }

  #purge(): void {
    this.#context.vms.purgeDestroyed(this.#context.clock.now() - this.#retentionMs);
  }

  #info(record: Parameters<typeof vmInfo>[0]): VmInfo {
    return vmInfo(record, this.#context.snapshots.idsOfVm(record.id));
  }

  #snapshotInfo(record: Parameters<typeof snapshotInfo>[0]): SnapshotInfo {
    const { parentUid } = record;
    return snapshotInfo(
      record,
      parentUid === undefined ? undefined : this.#context.snapshots.byUid(parentUid),
    );
  }
}

function engineClosed(): AlcoveError<'Cancelled'> {
  return new AlcoveError('Cancelled', 'the engine was closed', { remedy: 'Open it again.' });
}
