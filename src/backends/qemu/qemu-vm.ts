import { join } from 'node:path';
import { AlcoveError, cancelled } from '../../errors.ts';
import type { GuestChannel } from '../../guest/index.ts';
import type {
  BackendCallOptions,
  BackendHandle,
  BackendVm,
  CreateRequest,
  PhysicalState,
  SnapshotManifest,
  SpareKey,
  StartRequest,
} from '../../vm/backend.ts';
import { captureRunning } from './capture-running.ts';
import { ConsoleLog } from './console-log.ts';
import type { QemuContext } from './context.ts';
import { waitForEnd } from './end-process.ts';
import { GuestLine } from './guest-line.ts';
import {
  pauseMachine,
  type RunningMachine,
  resumeMachine,
  shutDownGuest,
  wakeLeftAlone,
} from './guest-power.ts';
import { endingMs, type Machine } from './machine.ts';
import { machineFacts } from './machine-facts.ts';
import { exportMemory, type KeptMemory } from './memory-files.ts';
import { type QmpRunState, queryRunState } from './qmp-commands.ts';
import { recoverMachine } from './recover-machine.ts';
import { readRunRecord, updateRunRecord } from './run-record.ts';
import { MiB } from './sizes.ts';
import { snapshotManifest } from './snapshot-manifest.ts';
import { boundLayers, exportSnapshot, freezeDiskOff } from './snapshot-vm.ts';
import { QemuSpare } from './spare.ts';
import { networkOf, type Origin, type StartedMachine, startMachine } from './start-machine.ts';
import { machineIn, sweep, tidy } from './sweep.ts';
import { takeOverSpare } from './take-over-spare.ts';
import { VmFiles } from './vm-files.ts';
import { type MachinePlaces, machinePlaces, type VmPlaces } from './vm-places.ts';
import type { VmRecord } from './vm-record.ts';

/** Disk that memory images may take which no machine is mapped from: some twenty of small machines. */
const unusedImageBytes = 2048 * MiB;

/** One VM of the QEMU backend. See {@link BackendVm} for what each call promises. */
export class QemuVm implements BackendVm {
  readonly #files: VmFiles;
  readonly #context: QemuContext;
  readonly #request: CreateRequest;
  readonly #listeners = new Set<(reason: string) => void>();
  #running: RunningMachine | undefined;
  /** Clearing up after a machine that ended by itself. */
  #clearing: Promise<void> = Promise.resolve();
  #console: ConsoleLog;

  constructor(context: QemuContext, request: CreateRequest, places: VmPlaces, record: VmRecord) {
    this.#context = context;
    this.#request = request;
    this.#files = new VmFiles(request, places, record);
    this.#console = ConsoleLog.load(places.consolePath);
  }

  get #places(): VmPlaces {
    return this.#files.places;
  }

  get id(): string {
    return this.#places.id;
  }

  /** For people and for `inspect`; `recover` needs none of it. */
  get handle(): BackendHandle {
    const run = readRunRecord(join(this.#places.machineDir, 'run.json'));
    return {
      version: 2,
      layers: this.#files.disk.layers.length,
      memoryLayers: this.#files.layers.length,
      ...(run && {
        pid: run.process?.pid,
        uid: run.uid,
        accelerator: run.facts.accelerator,
        confinement: run.confinement,
      }),
    };
  }

  /** Takes charge of a machine that runs. */
  #attach(machine: Machine, console: ConsoleLog, channel: GuestChannel | undefined): RunningMachine {
    const line = new GuestLine(machine.places.agentSocket, this.#context.connector, this.#context.clock);
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
    return running;
  }

  /** Looks for its machine after a restart of the engine, and takes charge of it. What is left of work that was cut short goes. */
  async recover(): Promise<void> {
    await this.#recoverMachine();
    await this.#files.removeOthers();
  }

  async #recoverMachine(): Promise<void> {
    const { clock, uids } = this.#context;
    const places = this.#machinePlaces();
    // Its memory was kept, or not yet used up: then what runs is what was left of a stop or of a start.
    if (this.#files.memoryState === 'kept' || this.#files.memoryState === 'trying') {
      await sweep(places, clock);
      await this.#files.takeBackStart();
      return;
    }
    const machine = await recoverMachine(this.#files, places, this.#console, clock);
    if (!machine) return;
    const uid = readRunRecord(places.runPath)?.uid;
    uids.hold(uid);
    void machine.gone.then(() => uids.give(uid));
    const running = this.#attach(machine, this.#console, undefined);
    // One that does not answer goes on by itself in a while, or is found out by the next call.
    await wakeLeftAlone(running, this.#context, this.#files.record.mac).catch(() => undefined);
  }

  async observe(): Promise<PhysicalState> {
    const running = this.#running;
    if (!running) {
      await this.#cleared();
      return this.#files.memoryState === 'kept' ? 'suspended' : 'off';
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
    await this.#files.takeBackStart();
    await this.#files.check();
    const kept = this.#files.kept();
    const console = ConsoleLog.empty(this.#places.consolePath);
    const spare = this.#usable(request.spare);
    try {
      const { machine, channel } = spare
        ? await this.#takeOver(spare, request, console, kept, options)
        : await this.#startAlone(request, console, kept, options);
      this.#attach(machine, console, channel);
      await this.#files.useUpMemory();
    } catch (error) {
      await this.#end(); // It came up, and its record could not be written: what it did goes with the top of its disk.
      this.#clearing = Promise.reject(error); // Whether all is gone is looked at once more by the next call.
      this.#clearing.catch(() => undefined);
      await this.#files.takeBackStart();
      throw error;
    }
  }

  async #startAlone(
    request: StartRequest,
    console: ConsoleLog,
    kept: KeptMemory | undefined,
    options: BackendCallOptions,
  ): Promise<StartedMachine> {
    if (kept) return this.#startFrom(await this.#keptOrigin(kept), request, console, options);
    // What it links of the template becomes what later snapshots of this run build on.
    using template = await this.#context.templates.hold(this.#request.shape, options);
    return await this.#startFrom({ memory: template.memory, guest: 'new' }, request, console, options);
  }

  #startFrom(
    origin: Origin,
    request: StartRequest,
    console: ConsoleLog,
    options: BackendCallOptions,
  ): Promise<StartedMachine> {
    const { shape } = this.#request;
    return startMachine(
      this.#context,
      {
        what: `starting ${this.id}`,
        places: machinePlaces(this.#context.stateDir, this.id, this.#places.machineDir),
        shape,
        console,
        origin,
        drives: this.#files.drives,
        person: { ...request, network: networkOf(request, shape, this.#files.record.mac) },
        commit: () => this.#files.commitStart(origin),
      },
      options,
    );
  }

  async #takeOver(
    spare: QemuSpare,
    request: StartRequest,
    console: ConsoleLog,
    kept: KeptMemory | undefined,
    options: BackendCallOptions,
  ): Promise<StartedMachine> {
    if (kept) await this.#keptOrigin(kept);
    const mac = spare.record.mac ?? this.#files.record.mac;
    options.onProgress?.('taking a warm machine');
    const started = await takeOverSpare(
      this.#context,
      {
        what: `starting ${this.id}`,
        vm: this.#places,
        console,
        spare,
        drives: this.#files.drives,
        person: { ...request, network: networkOf(request, this.#request.shape, mac) },
        commit: (origin) => this.#files.commitStart(origin, mac),
      },
      options,
    );
    if (spare.kind === 'image') await this.#files.removeFirstTop();
    return started;
  }

  /** A spare that is for something else, or of another backend, is of no use. */
  #usable(spare: StartRequest['spare']): QemuSpare | undefined {
    return spare instanceof QemuSpare && this.spareKeys.includes(spare.key) ? spare : undefined;
  }

  /** See {@link SpareMaker.keysFor}. */
  get spareKeys(): readonly SpareKey[] {
    return this.#files.spareKeys;
  }

  async #keptOrigin(kept: KeptMemory): Promise<Origin> {
    const { shape } = this.#request;
    const [host, { accelerator }] = await Promise.all([
      this.#context.host(),
      this.#context.accelerator(shape),
    ]);
    const facts = machineFacts(shape, accelerator, host.qemu);
    return { memory: await this.#files.beginFrom(kept, facts), guest: 'sealed' };
  }

  async stop(request: { graceMs: number; memory?: true }, options: BackendCallOptions = {}): Promise<void> {
    const { signal } = options;
    if (signal?.aborted) throw cancelled(`stopping ${this.id}`, signal);
    if (request.memory) return this.#suspend(options);
    const running = this.#running;
    this.#running = undefined;
    if (running) {
      // Without the guest's help it ends by force; what its disk then lacks is what no one had flushed.
      await shutDownGuest(running, request.graceMs, this.#context.clock, this.#files.record.mac).catch(
        () => undefined,
      );
      this.#clear(running);
    }
    await this.#cleared();
  }

  async #suspend(options: BackendCallOptions): Promise<void> {
    const running = this.#live();
    const captured = await captureRunning(this.#context, running, {
      ramBytes: this.#ramBytes,
      spillPath: join(this.#places.dir, 'capture.spill'),
      afterwards: 'stands still',
      ...options,
    });
    try {
      await using pages = captured.memory;
      if (!pages) throw new AlcoveError('Internal', `the memory of ${this.id} was not captured`);
      const kept = await pages.write(this.#places.memory, this.#files.layers, options.signal);
      await this.#context.at('capture.written');
      // The guest stands still, its file systems flushed: the disk is that of the memory.
      await this.#files.keep(kept);
      await this.#context.at('suspend.marked');
    } catch (error) {
      if (this.#files.memoryState === 'kept') {
        // Whoever finds this on record goes on from it: the disk must stay as it is.
        await this.#endSuspended(running);
      } else {
        await captured.goOn();
        await this.#files.removeOtherMemory();
      }
      throw error;
    }
    await this.#endSuspended(running);
  }

  async #endSuspended(running: RunningMachine): Promise<void> {
    this.#running = undefined;
    this.#clear(running);
    await this.#cleared();
    await this.#files.removeOtherMemory();
  }

  get #ramBytes(): number {
    return this.#request.shape.memoryMiB * MiB;
  }

  async pause(options: BackendCallOptions = {}): Promise<void> {
    await pauseMachine(this.#live(), options.signal);
  }

  async resume(options: BackendCallOptions = {}): Promise<void> {
    await resumeMachine(this.#live(), this.#context, this.#files.record.mac, options.signal);
  }

  async snapshot(
    request: {
      dir: string;
      memory: 'include' | 'exclude';
      parent?: { dir: string; manifest: SnapshotManifest };
    },
    options: BackendCallOptions = {},
  ): Promise<SnapshotManifest> {
    const { signal } = options;
    const what = `the snapshot of ${this.id}`;
    if (signal?.aborted) throw cancelled(what, signal);
    const host = await this.#context.host(options);
    const running = this.#running;
    try {
      const memory = running
        ? await this.#snapshotRunning(running, request, options)
        : await this.#snapshotOff(request.memory);
      options.onProgress?.('keeping the layers');
      await boundLayers(this.#files, running?.machine, host.programs.img, signal);
      const files = {
        ...(await exportSnapshot(this.#files, request.dir, signal)),
        ...(memory && (await exportMemory(memory, request.dir))),
      };
      return snapshotManifest(this.#request, host.qemu.text, files, memory?.facts);
    } catch (error) {
      throw signal?.aborted ? cancelled(what, signal) : error;
    }
  }

  async #snapshotOff(memory: 'include' | 'exclude'): Promise<KeptMemory | undefined> {
    await this.#cleared();
    await this.#files.takeBackStart();
    await freezeDiskOff(this.#files);
    return memory === 'include' ? this.#files.kept() : undefined;
  }

  /** @returns the memory, written into the snapshot's directory as far as it is new */
  async #snapshotRunning(
    running: RunningMachine,
    request: {
      dir: string;
      memory: 'include' | 'exclude';
      parent?: { dir: string; manifest: SnapshotManifest };
    },
    options: BackendCallOptions,
  ): Promise<KeptMemory | undefined> {
    options.onProgress?.('freezing the machine');
    const captured = await captureRunning(this.#context, running, {
      disk: this.#files,
      ramBytes: request.memory === 'include' ? this.#ramBytes : undefined,
      spillPath: join(request.dir, 'capture.spill'),
      afterwards: 'goes on',
      ...options,
    });
    if (!captured.memory) return undefined;
    await using pages = captured.memory;
    options.onProgress?.('writing what changed in memory');
    const { lastLayer } = readRunRecord(running.machine.places.runPath) ?? {};
    const kept = await pages.write(
      request.dir,
      this.#files.layersBelow(request.parent, lastLayer),
      options.signal,
    );
    updateRunRecord(running.machine.places.runPath, { lastLayer: kept.layers.at(-1)?.digest.sha256 ?? null });
    await this.#context.at('capture.written');
    return kept;
  }

  async destroy(): Promise<void> {
    await this.#end();
    await this.#clearing.catch(() => undefined);
    await sweep(this.#machinePlaces(), this.#context.clock);
  }

  /** Ends its machine, if it has one, by force. What that leaves, or what does not end, is for the sweep that comes after. */
  async #end(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    await running?.line.close();
    await running?.machine.finish('kill').catch(() => undefined);
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

  #machinePlaces(): MachinePlaces {
    return machineIn(this.#context.stateDir, this.#places.machineDir, this.id);
  }

  #clear({ machine, line }: RunningMachine): void {
    const clear = async () => {
      const cgroups = readRunRecord(machine.places.runPath)?.cgroups ?? [];
      await machine.finish();
      await line.close();
      await tidy(machine.places, cgroups, this.#context.clock);
      await this.#context.images.trim({ maxUnusedBytes: unusedImageBytes });
    };
    this.#clearing = clear();
    this.#clearing.catch(() => undefined); // The next call looks at it, and tries again.
  }

  /** Waits until nothing is left of a machine that ended. @throws AlcoveError `VmFailed` when its process cannot be ended */
  async #cleared(): Promise<void> {
    try {
      await this.#clearing;
    } catch {
      await sweep(this.#machinePlaces(), this.#context.clock);
      this.#clearing = Promise.resolve();
    }
  }
}
