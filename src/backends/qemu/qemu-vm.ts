import { AlcoveError, cancelled } from '../../errors.ts';
import type { GuestChannel } from '../../guest/index.ts';
import type { Clock } from '../../host/index.ts';
import type {
  BackendCallOptions,
  BackendHandle,
  BackendVm,
  CreateRequest,
  PhysicalState,
  SnapshotManifest,
  StartRequest,
} from '../../vm/backend.ts';
import type { AcceleratorChoice } from './accelerator.ts';
import { bootMachine } from './boot-machine.ts';
import { ConsoleLog } from './console-log.ts';
import { checkLayers } from './disk-layers.ts';
import { waitForEnd } from './end-process.ts';
import { type GuestConnector, GuestLine } from './guest-line.ts';
import { pauseMachine, type RunningMachine, resumeMachine, shutDownGuest } from './guest-power.ts';
import { endingMs, type Machine } from './machine.ts';
import type { QemuHost } from './probe-host.ts';
import { type QmpRunState, queryRunState } from './qmp-commands.ts';
import { recoverMachine } from './recover-machine.ts';
import { readRunRecord } from './run-record.ts';
import { diskSnapshotManifest } from './snapshot-manifest.ts';
import { type DiskOwner, exportSnapshot, freezeDiskLive, freezeDiskOff } from './snapshot-vm.ts';
import { sweep, tidy } from './sweep.ts';
import type { VmPlaces } from './vm-places.ts';
import { type DiskRecord, type VmRecord, writeVmRecord } from './vm-record.ts';

/** What a VM needs of the backend that made it. */
export interface QemuVmContext {
  clock: Clock;
  connector: GuestConnector;
  bootTimeoutMs: number;
  /** Finds out, or remembers, what this host has. @throws AlcoveError `BackendUnavailable` */
  host(options?: BackendCallOptions): Promise<QemuHost>;
  accelerator(request: CreateRequest, options?: BackendCallOptions): Promise<AcceleratorChoice>;
  /** The VM is gone: its user id may be given to another. */
  forget(vm: QemuVm): void;
}

/** One VM of the QEMU backend. See {@link BackendVm} for what each call promises. */
export class QemuVm implements BackendVm, DiskOwner {
  readonly places: VmPlaces;
  readonly #context: QemuVmContext;
  readonly #request: CreateRequest;
  readonly #listeners = new Set<(reason: string) => void>();
  #record: VmRecord;
  #running: RunningMachine | undefined;
  /** Clearing up after a machine that ended by itself. */
  #clearing: Promise<void> = Promise.resolve();
  #console: ConsoleLog;

  constructor(context: QemuVmContext, request: CreateRequest, places: VmPlaces, record: VmRecord) {
    this.#context = context;
    this.#request = request;
    this.#record = record;
    this.places = places;
    this.#console = ConsoleLog.load(places.consolePath);
  }

  get id(): string {
    return this.places.id;
  }

  /** For people and for `inspect`; `recover` needs none of it. */
  get handle(): BackendHandle {
    const run = readRunRecord(this.places.runPath);
    return {
      version: 1,
      uid: this.#record.uid,
      layers: this.#record.disk.layers.length,
      ...(run && {
        pid: run.process?.pid,
        accelerator: run.accelerator,
        confinement: run.confinement,
      }),
    };
  }

  get disk(): DiskRecord {
    return this.#record.disk;
  }

  get uid(): number | undefined {
    return this.#record.uid ?? undefined;
  }

  async setDisk(disk: DiskRecord): Promise<void> {
    const record = { ...this.#record, disk };
    await writeVmRecord(this.places.recordPath, record);
    this.#record = record;
  }

  /** Takes charge of a machine that runs. */
  #attach(machine: Machine, console: ConsoleLog, channel: GuestChannel | undefined): void {
    const line = new GuestLine(this.places.agentSocket, this.#context.connector, this.#context.clock);
    if (channel) line.adopt(channel);
    const running = { machine, line };
    this.#running = running;
    this.#console = console;
    void machine.ended.then((reason) => {
      if (this.#running !== running) return; // `stop`, `destroy` or `release` came first.
      this.#running = undefined;
      this.#clear(running);
      for (const listener of this.#listeners) listener(reason);
    });
  }

  /** Looks for its machine after a restart of the engine, and takes charge of it. */
  async recover(): Promise<void> {
    const machine = await recoverMachine(this, this.#console, this.#context.clock);
    if (machine) this.#attach(machine, this.#console, undefined);
  }

  async observe(): Promise<PhysicalState> {
    const running = this.#running;
    if (!running) {
      await this.#cleared();
      return 'off';
    }
    switch (await this.#runState(running.machine)) {
      case 'running':
        return 'running';
      case 'paused':
      case 'prelaunch':
      case 'other':
        return 'paused';
      default:
        return 'off'; // Its end is on the way to whoever listens.
    }
  }

  /** @throws AlcoveError `VmFailed` of a machine that does not say and has not ended: nobody knows then */
  async #runState({ process, qmp }: Machine): Promise<QmpRunState | 'gone'> {
    try {
      return await queryRunState(qmp);
    } catch (error) {
      if (await waitForEnd(process, endingMs, this.#context.clock)) return 'gone';
      throw error;
    }
  }

  async start(request: StartRequest, options: BackendCallOptions = {}): Promise<void> {
    await this.#cleared();
    const { shape, image } = this.#request;
    const [host, choice] = await Promise.all([
      this.#context.host(options),
      this.#context.accelerator(this.#request, options),
      checkLayers(this.places.jail, this.disk),
    ]);
    const booted = await bootMachine(
      {
        host,
        plan: {
          qemu: host.qemu,
          accelerator: choice.accelerator,
          places: this.places,
          shape,
          imagePath: image.rootfsPath,
          disk: this.disk,
          mac: this.#record.mac,
          dropTo: this.uid,
        },
        start: request,
        clock: this.#context.clock,
        connector: this.#context.connector,
        timeoutMs: this.#context.bootTimeoutMs,
      },
      options,
    ).catch((error: unknown) => {
      this.#clearing = Promise.reject(error); // Whether all is gone is looked at once more by the next call.
      this.#clearing.catch(() => undefined);
      throw error;
    });
    this.#attach(booted.machine, booted.console, booted.channel);
  }

  async stop(request: { graceMs: number; memory?: true }, options: BackendCallOptions = {}): Promise<void> {
    if (request.memory)
      throw new AlcoveError(
        'Unsupported',
        'keeping memory over a stop is not supported by this backend yet',
        {
          details: { capability: 'memorySnapshots' },
        },
      );
    const { signal } = options;
    if (signal?.aborted) throw cancelled(`stopping ${this.id}`, signal);
    const running = this.#running;
    this.#running = undefined;
    if (running) {
      // Without the guest's help it ends by force; what its disk then lacks is what no one had flushed.
      await shutDownGuest(running, request.graceMs, this.#context.clock).catch(() => undefined);
      this.#clear(running);
    }
    await this.#cleared();
  }

  async pause(options: BackendCallOptions = {}): Promise<void> {
    await pauseMachine(this.#live(), options.signal);
  }

  async resume(options: BackendCallOptions = {}): Promise<void> {
    await resumeMachine(this.#live(), this.#context.clock, options.signal);
  }

  async snapshot(
    request: { dir: string; memory: 'include' | 'exclude' },
    options: BackendCallOptions = {},
  ): Promise<SnapshotManifest> {
    if (request.memory === 'include')
      throw new AlcoveError('Unsupported', 'snapshots of memory are not supported by this backend yet', {
        details: { capability: 'memorySnapshots' },
      });
    const { signal } = options;
    const what = `the snapshot of ${this.id}`;
    if (signal?.aborted) throw cancelled(what, signal);
    const host = await this.#context.host(options);
    const running = this.#running;
    options.onProgress?.('freezing the disk');
    if (running) {
      const { machine, line } = running;
      const paused = (await queryRunState(machine.qmp)) === 'paused';
      await freezeDiskLive(
        this,
        machine,
        paused ? undefined : await line.channel(signal),
        this.#context.clock,
      );
    } else {
      await this.#cleared();
      await freezeDiskOff(this);
    }
    options.onProgress?.('keeping the layers');
    const files = await exportSnapshot(this, request.dir, signal).catch((error: unknown) => {
      throw signal?.aborted ? cancelled(what, signal) : error;
    });
    return diskSnapshotManifest(this.#request, host.qemu.text, files);
  }

  async destroy(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    if (running) {
      await running.line.close();
      await running.machine.finish('kill').catch(() => undefined); // The sweep below tries again, and tells.
    }
    await this.#clearing.catch(() => undefined);
    await sweep(this.places, this.#context.clock);
    this.#context.forget(this);
  }

  async guest(options: BackendCallOptions = {}): Promise<GuestChannel> {
    const { machine, line } = this.#live();
    if ((await queryRunState(machine.qmp).catch(() => undefined)) === 'paused')
      throw new AlcoveError('GuestUnreachable', `${this.id} is paused`, { remedy: 'Resume it first.' });
    return line.channel(options.signal);
  }

  async console(): Promise<string> {
    await this.#running?.machine.readConsole().catch(() => undefined); // What was read before is still told.
    return this.#console.text();
  }

  onExit(listener: (reason: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async release(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    this.#listeners.clear();
    await this.#clearing.catch(() => undefined);
    await running?.machine.readConsole().catch(() => undefined); // Stays in QEMU's ring for the next engine.
    await running?.line.close();
    await running?.machine.release();
  }

  #live(): RunningMachine {
    if (this.#running) return this.#running;
    throw new AlcoveError('GuestUnreachable', `${this.id} is not running`);
  }

  #clear({ machine, line }: RunningMachine): void {
    const clear = async () => {
      const cgroups = readRunRecord(this.places.runPath)?.cgroups ?? [];
      await machine.finish();
      await line.close();
      await tidy(this.places, cgroups, this.#context.clock);
    };
    this.#clearing = clear();
    this.#clearing.catch(() => undefined); // The next call looks at it, and tries again.
  }

  /** Waits until nothing is left of a machine that ended. @throws AlcoveError `VmFailed` when its process cannot be ended */
  async #cleared(): Promise<void> {
    try {
      await this.#clearing;
    } catch {
      await sweep(this.places, this.#context.clock);
      this.#clearing = Promise.resolve();
    }
  }
}
