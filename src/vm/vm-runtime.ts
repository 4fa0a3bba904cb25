import {
  type ExecRequest,
  type ExecResult,
  type GuestChannel,
  type GuestProcess,
  type RunOptions,
  runCommand,
} from '../guest/index.ts';
import type { VmLimits } from './admission.ts';
import type { BackendCallOptions, BackendCapabilities } from './backend.ts';
import { Calls } from './calls.ts';
import { destroyVm } from './destroy-vm.ts';
import { type DiskUsage, diskUsage } from './disk-usage.ts';
import { type ForkOptions, forkVm } from './fork-vm.ts';
import { collectGarbage, type GarbageOptions, type GarbageReport } from './garbage/index.ts';
import { attachCommand, reachGuest, readConsole, spawnCommand } from './guest-access.ts';
import { imageDigestsInUse, removeImage } from './images-in-use.ts';
import { pauseVm, resumeVm, type StartOptions, type StopOptions, startVm, stopVm } from './lifecycle.ts';
import { createVm, restoreVm } from './make-vm.ts';
import type { RuntimeContext } from './runtime-context.ts';
import { SnapshotCalls } from './snapshot-calls.ts';
import { snapshotInfo } from './snapshot-info.ts';
import type { SpareInfo, WarmSpec, WarmStats } from './spares/index.ts';
import { newSnapshotUid, type SnapshotOptions, takeSnapshot } from './take-snapshot.ts';
import { vmNotFound } from './transitions.ts';
import type { ForkResult, RestoreSpec, SnapshotInfo, SnapshotRef, VmInfo, VmSpec } from './vm.ts';
import { vmInfo } from './vm-info.ts';

/**
 * The lifecycle of the VMs of one state directory. Every call takes an `AbortSignal`; calls on one VM are taken in order,
 * calls on different VMs run in parallel. Closing lets go of the VMs without ending them.
 */
export class VmRuntime implements AsyncDisposable {
  /** What was mended at open, in sentences for people. */
  readonly mended: readonly string[];
  readonly snapshots: SnapshotCalls;
  readonly #context: RuntimeContext;
  readonly #retentionMs: number;
  readonly #calls = new Calls();

  /** Use `openVmRuntime`. */
  constructor(context: RuntimeContext, mended: readonly string[], retentionMs: number) {
    this.#context = context;
    this.snapshots = new SnapshotCalls(context, this.#calls);
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
    return this.#calls.run(options, async (call) => this.#info(await createVm(this.#context, spec, call)));
  }

  /** Makes a VM from a snapshot. @throws AlcoveError as {@link create}, and `SnapshotNotFound`, `SnapshotIncompatible`, `SnapshotCorrupt` */
  async restore(ref: SnapshotRef, spec: RestoreSpec = {}, options: BackendCallOptions = {}): Promise<VmInfo> {
    this.#purge();
    return this.#calls.run(options, async (call) =>
      this.#info(await restoreVm(this.#context, ref, spec, call)),
    );
  }

  /** Makes VMs from one snapshot of a VM, taken now. Each succeeds or fails alone; results are in order. */
  async fork(id: string, count: number, options: ForkOptions = {}): Promise<ForkResult[]> {
    this.#purge();
    return this.#calls.run(options, async (call) => {
      const outcomes = await forkVm(this.#context, id, count, { ...options, ...call });
      return outcomes.map((outcome) =>
        'record' in outcome ? { id: outcome.id, vm: this.#info(outcome.record) } : outcome,
      );
    });
  }

  async start(id: string, options: StartOptions = {}): Promise<VmInfo> {
    return this.#calls.run(options, async (call) =>
      this.#info(await startVm(this.#context, id, { ...options, ...call })),
    );
  }

  async stop(id: string, options: StopOptions = {}): Promise<VmInfo> {
    return this.#calls.run(options, async (call) =>
      this.#info(await stopVm(this.#context, id, { ...options, ...call })),
    );
  }

  async pause(id: string, options: BackendCallOptions = {}): Promise<VmInfo> {
    return this.#calls.run(options, async (call) => this.#info(await pauseVm(this.#context, id, call)));
  }

  async resume(id: string, options: BackendCallOptions = {}): Promise<VmInfo> {
    return this.#calls.run(options, async (call) => this.#info(await resumeVm(this.#context, id, call)));
  }

  async destroy(id: string, options: BackendCallOptions = {}): Promise<void> {
    return this.#calls.run(options, (call) => destroyVm(this.#context, id, call));
  }

  async snapshot(id: string, options: SnapshotOptions = {}): Promise<SnapshotInfo> {
    return this.#calls.run(options, async (call) => {
      const made = { uid: newSnapshotUid(this.#context), lifetime: 'kept' } as const;
      const record = await takeSnapshot(this.#context, id, { ...options, ...call }, made);
      return snapshotInfo(this.#context, record);
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

  /** Machines made ahead of need: the next start that one of them fits takes it. */
  readonly warm = {
    /**
     * Makes some, one after the other; they stay until a start takes them, also when the engine closes. When one cannot be
     * made, those before it stay.
     *
     * @throws AlcoveError `InvalidInput`, `AtCapacity`, `Unsupported`, `ImageNotFound`, `SnapshotNotFound`, …
     */
    fill: async (spec: WarmSpec, options: BackendCallOptions = {}): Promise<SpareInfo[]> =>
      this.#calls.run(options, (call) => this.#context.spares.warm.fill(spec, call)),
    /** Those that wait, oldest first. */
    list: async (): Promise<SpareInfo[]> => this.#context.spares.warm.list(),
    /** Ends those that wait: the named ones, or all. @throws AlcoveError `SpareNotFound`; then none was ended */
    drop: async (ids?: readonly string[]): Promise<void> =>
      this.#calls.run({}, () => this.#context.spares.warm.drop(ids)),
    stats: async (): Promise<WarmStats> => this.#context.spares.warm.stats(),
    /** Resolves when none is being made or ended. */
    settled: (): Promise<void> => this.#context.spares.settled(),
  };

  /** Digests of the images that VMs and snapshots need, those being made included. */
  imageDigestsInUse(): Set<string> {
    return imageDigestsInUse(this.#context);
  }

  /** Removes an image, of which machines may be waiting, or being made ahead of need. @param remove refuses when it is in use */
  async removeImage(digest: string, remove: (inUse: ReadonlySet<string>) => Promise<void>): Promise<void> {
    await removeImage(this.#context, digest, remove);
  }

  /** What the state directory takes of the disk. Looks at every file of it. */
  async diskUsage(options: BackendCallOptions = {}): Promise<DiskUsage> {
    return this.#calls.run(options, () => diskUsage(this.#context));
  }

  /** Removes what nothing needs; with `dryRun` only says what that is. */
  async collectGarbage(options: GarbageOptions & BackendCallOptions = {}): Promise<GarbageReport> {
    const { signal, onProgress, ...wanted } = options;
    const given = { ...(signal && { signal }), ...(onProgress && { onProgress }) };
    return this.#calls.run(given, (call) =>
      collectGarbage(this.#context, { retentionMs: this.#retentionMs, ...wanted, ...call }),
    );
  }

  /** Runs a command to its end. @throws AlcoveError `CommandTimedOut`, `VmFailed`, `GuestUnreachable`, `CommandNotStarted`, `Cancelled`, … */
  async exec(id: string, command: RunOptions): Promise<ExecResult> {
    const exec = (request: ExecRequest, options?: BackendCallOptions) => this.spawn(id, request, options);
    return runCommand({ exec }, command, { clock: this.#context.clock });
  }

  /** Starts a command and gives its streams. The image's and the VM's env, user and workdir apply. */
  async spawn(id: string, request: ExecRequest, options: BackendCallOptions = {}): Promise<GuestProcess> {
    return this.#calls.run(options, (call) => spawnCommand(this.#context, id, request, call, options.signal));
  }

  /** Joins a detached command again. */
  async attach(id: string, commandId: string, options: BackendCallOptions = {}): Promise<GuestProcess> {
    return this.#calls.run(options, (call) =>
      attachCommand(this.#context, id, commandId, call, options.signal),
    );
  }

  /** The channel of a running VM. @throws AlcoveError `VmNotFound`, `GuestUnreachable` */
  async guest(id: string, options: BackendCallOptions = {}): Promise<GuestChannel> {
    return this.#calls.run(options, async (call) => (await reachGuest(this.#context, id, call)).guest);
  }

  /** The last part of a VM's console, bounded; of the current or the last run. */
  async console(id: string): Promise<string> {
    return this.#calls.run({}, () => readConsole(this.#context, id));
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
    const closed = await this.#calls.close();
    await this.#context.lanes.idle(); // A caller that heard of a death left its call behind.
    await this.#context.spares.close();
    for (const result of await this.#context.machines.release(closed)) {
      if (result.status === 'rejected')
        this.#context.warn(`could not let go of a VM: ${(result.reason as Error).message}`);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #purge(): void {
    this.#calls.requireOpen();
    this.#context.vms.purgeDestroyed(this.#context.clock.now() - this.#retentionMs);
  }

  #info(record: Parameters<typeof vmInfo>[0]): VmInfo {
    return vmInfo(record, this.#context.snapshots.idsOfVm(record));
  }
}
