import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
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
import { stateFile } from './device-state.ts';
import { checkLayers, makeTop, removeTop } from './disk-layers.ts';
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
import { layerFile } from './machine-args.ts';
import type { Drives } from './machine-drives.ts';
import { machineFacts } from './machine-facts.ts';
import {
  adoptMemory,
  checkMemory,
  exportMemory,
  type KeptLayer,
  type KeptMemory,
  keptMemory,
  removeOthers,
  sealsOf,
  snapshotMemory,
} from './memory-files.ts';
import { type QmpRunState, queryRunState } from './qmp-commands.ts';
import { recoverMachine } from './recover-machine.ts';
import { readRunRecord, updateRunRecord } from './run-record.ts';
import { assertMemoryFits, snapshotManifest } from './snapshot-manifest.ts';
import { boundLayers, type DiskOwner, exportSnapshot, freezeDiskOff } from './snapshot-vm.ts';
import { QemuSpare, spareTop } from './spare.ts';
import { imageKey, memoryKey, shapeKey } from './spare-keys.ts';
import { networkOf, type Origin, type StartedMachine, startMachine } from './start-machine.ts';
import { machineIn, sweep, tidy } from './sweep.ts';
import { takeOverSpare } from './take-over-spare.ts';
import { type MachinePlaces, machinePlaces, type VmPlaces } from './vm-places.ts';
import { type DiskRecord, type MemoryRecord, type VmRecord, writeVmRecord } from './vm-record.ts';

/** Disk that memory images may take which no machine is mapped from: some twenty of small machines. */
const unusedImageBytes = 2 * 2 ** 30;

/** One VM of the QEMU backend. See {@link BackendVm} for what each call promises. */
export class QemuVm implements BackendVm, DiskOwner {
  readonly places: VmPlaces;
  readonly #context: QemuContext;
  readonly #request: CreateRequest;
  readonly #listeners = new Set<(reason: string) => void>();
  #record: VmRecord;
  #running: RunningMachine | undefined;
  /** Clearing up after a machine that ended by itself. */
  #clearing: Promise<void> = Promise.resolve();
  #console: ConsoleLog;

  constructor(context: QemuContext, request: CreateRequest, places: VmPlaces, record: VmRecord) {
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
    const run = readRunRecord(join(this.places.machineDir, 'run.json'));
    return {
      version: 2,
      layers: this.#record.disk.layers.length,
      memoryLayers: this.#record.memory?.layers.length ?? 0,
      ...(run && {
        pid: run.process?.pid,
        uid: run.uid,
        accelerator: run.facts.accelerator,
        confinement: run.confinement,
      }),
    };
  }

  get disk(): DiskRecord {
    return this.#record.disk;
  }

  async setDisk(disk: DiskRecord): Promise<void> {
    await this.#setRecord({ disk });
  }

  async #setRecord(change: Partial<VmRecord>): Promise<void> {
    const record = { ...this.#record, ...change };
    await writeVmRecord(this.places.recordPath, record);
    this.#record = record;
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
    const { disk } = this.#record;
    const layers = [...disk.layers.map(({ file }) => file), layerFile(disk.top)];
    await removeOthers(this.places.disk, layers);
    await this.#removeOtherMemory();
  }

  async #removeOtherMemory(): Promise<void> {
    const { memory } = this.#record;
    const state = memory?.device ? [stateFile] : [];
    await removeOthers(this.places.memory, [...(memory?.layers.map(({ file }) => file) ?? []), ...state]);
  }

  async #recoverMachine(): Promise<void> {
    const { clock, uids } = this.#context;
    const places = this.#machinePlaces();
    // Its memory was kept, or not yet used up: then what runs is what was left of a stop or of a start.
    if (this.#record.memory && this.#record.memory.state !== 'used') {
      await sweep(places, clock);
      await this.#takeBackStart();
      return;
    }
    const machine = await recoverMachine(this, places, this.#console, clock);
    if (!machine) return;
    const uid = readRunRecord(places.runPath)?.uid;
    uids.hold(uid);
    void machine.gone.then(() => uids.give(uid));
    const running = this.#attach(machine, this.#console, undefined);
    // One that does not answer goes on by itself in a while, or is found out by the next call.
    await wakeLeftAlone(running, this.#context, this.#record.mac).catch(() => undefined);
  }

  async observe(): Promise<PhysicalState> {
    const running = this.#running;
    if (!running) {
      await this.#cleared();
      return this.#record.memory?.state === 'kept' ? 'suspended' : 'off';
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
    await this.#takeBackStart();
    await checkLayers(this.places.disk, this.disk);
    const kept = this.#record.memory?.state === 'kept' ? this.#record.memory : undefined;
    const console = ConsoleLog.empty(this.places.consolePath);
    const spare = this.#usable(request.spare);
    try {
      const { machine, channel } = spare
        ? await this.#takeOver(spare, request, console, kept, options)
        : await this.#startAlone(request, console, kept, options);
      this.#attach(machine, console, channel);
      if (kept) await this.#useUpMemory();
    } catch (error) {
      this.#clearing = Promise.reject(error); // Whether all is gone is looked at once more by the next call.
      this.#clearing.catch(() => undefined);
      await this.#takeBackStart();
      throw error;
    }
  }

  async #startAlone(
    request: StartRequest,
    console: ConsoleLog,
    kept: MemoryRecord | undefined,
    options: BackendCallOptions,
  ): Promise<StartedMachine> {
    const { shape } = this.#request;
    const origin = kept ? await this.#keptOrigin(kept) : await this.#templateOrigin(options);
    return startMachine(
      this.#context,
      {
        what: `starting ${this.id}`,
        places: machinePlaces(this.#context.stateDir, this.id, this.places.machineDir),
        shape,
        console,
        origin,
        drives: this.#drives(),
        person: { ...request, network: networkOf(request, shape, this.#record.mac) },
        commit: () => this.#commitStart(origin),
      },
      options,
    );
  }

  async #takeOver(
    spare: QemuSpare,
    request: StartRequest,
    console: ConsoleLog,
    kept: MemoryRecord | undefined,
    options: BackendCallOptions,
  ): Promise<StartedMachine> {
    if (kept) await this.#keptOrigin(kept);
    const mac = spare.record.mac ?? this.#record.mac;
    options.onProgress?.('taking a warm machine');
    const started = await takeOverSpare(
      this.#context,
      {
        what: `starting ${this.id}`,
        vm: this.places,
        console,
        spare,
        drives: this.#drives(),
        person: { ...request, network: networkOf(request, this.#request.shape, mac) },
        commit: (origin) => this.#commitStart(origin, mac),
      },
      options,
    );
    if (spare.kind === 'image') await removeTop(this.places.disk, { ...this.disk, top: spareTop - 1 });
    return started;
  }

  /** A spare that is for something else, or of another backend, is of no use. */
  #usable(spare: StartRequest['spare']): QemuSpare | undefined {
    return spare instanceof QemuSpare && this.spareKeys.includes(spare.key) ? spare : undefined;
  }

  /** See {@link SpareMaker.keysFor}. */
  get spareKeys(): readonly SpareKey[] {
    const { image, shape } = this.#request;
    const { disk, memory } = this.#record;
    if (memory?.state === 'kept') {
      const { device, layers } = keptMemory(this.places.memory, memory);
      return [memoryKey(shape, [...layers, device])];
    }
    if (disk.content === 'changed') return [shapeKey(shape)];
    return [imageKey(shape, image.digest), shapeKey(shape)];
  }

  #drives(): Drives {
    return {
      diskDir: this.places.disk,
      disk: this.disk,
      imagePath: this.#request.image.rootfsPath,
    };
  }

  /** The template's memory, which becomes what later snapshots of this run build on. */
  async #templateOrigin(options: BackendCallOptions): Promise<Origin> {
    return { memory: await this.#context.templates.get(this.#request.shape, options), guest: 'new' };
  }

  /** Its own memory; from here on its disk has a top of its own, so that all of it can be taken back. */
  async #keptOrigin(record: MemoryRecord): Promise<Origin> {
    const { shape } = this.#request;
    const [host, { accelerator }] = await Promise.all([
      this.#context.host(),
      this.#context.accelerator(shape),
    ]);
    const memory = keptMemory(this.places.memory, record);
    assertMemoryFits(memory.facts, machineFacts(shape, accelerator, host.qemu));
    await checkMemory(memory);
    await freezeDiskOff(this);
    return { memory, guest: 'sealed' };
  }

  /**
   * Durable before the guest goes on: from then on the disk is no longer that of the memory, or of the image; that of a spare which
   * had its root mounted already takes the place of one that nothing was written to.
   */
  async #commitStart({ guest, memory }: Origin, mac = this.#record.mac): Promise<void> {
    const disk: DiskRecord = {
      ...this.disk,
      content: 'changed',
      ...(guest === 'set up' && { top: spareTop }),
    };
    if (guest === 'sealed') {
      const kept = this.#record.memory;
      if (kept) await this.#setRecord({ disk, memory: { ...kept, state: 'trying' } });
      return;
    }
    await this.#setRecord({ mac, disk, memory: await adoptMemory(this.places.memory, memory, 'layers') });
  }

  async #useUpMemory(): Promise<void> {
    if (!this.#record.memory) return;
    await this.#setRecord({ memory: { ...this.#record.memory, state: 'used', device: null } });
    await rm(join(this.places.memory, stateFile), { force: true });
  }

  /** After a start from kept memory that came to nothing: what its guest wrote is thrown away, and the memory fits the disk again. */
  async #takeBackStart(): Promise<void> {
    const { disk, memory } = this.#record;
    if (memory?.state !== 'trying') return;
    await makeTop(this.places.disk, disk, undefined);
    await this.#setRecord({ memory: { ...memory, state: 'kept' } });
  }

  async stop(request: { graceMs: number; memory?: true }, options: BackendCallOptions = {}): Promise<void> {
    const { signal } = options;
    if (signal?.aborted) throw cancelled(`stopping ${this.id}`, signal);
    if (request.memory) return this.#suspend(options);
    const running = this.#running;
    this.#running = undefined;
    if (running) {
      // Without the guest's help it ends by force; what its disk then lacks is what no one had flushed.
      await shutDownGuest(running, request.graceMs, this.#context.clock, this.#record.mac).catch(
        () => undefined,
      );
      this.#clear(running);
    }
    await this.#cleared();
  }

  async #suspend(options: BackendCallOptions): Promise<void> {
    const running = this.#live();
    const { memory } = this.#record;
    const captured = await captureRunning(this.#context, running, {
      ramBytes: this.#ramBytes,
      spillPath: join(this.places.dir, 'capture.spill'),
      afterwards: 'stands still',
      ...options,
    });
    try {
      await using pages = captured.memory;
      if (!pages) throw new AlcoveError('Internal', `the memory of ${this.id} was not captured`);
      const below = memory ? memory.layers.map(({ file, digest }) => this.#keptLayer(file, digest)) : [];
      const kept = await pages.write(this.places.memory, below, options.signal);
      await this.#context.at('capture.written');
      // The guest stands still, its file systems flushed: the disk is that of the memory.
      await this.#setRecord({ memory: await this.#nameMemory(kept) });
      await this.#context.at('suspend.marked');
    } catch (error) {
      await captured.goOn();
      throw error;
    }
    this.#running = undefined;
    this.#clear(running);
    await this.#cleared();
    await this.#removeOtherMemory();
  }

  #keptLayer(file: string, digest: { sizeBytes: number; sha256: string }) {
    return { path: join(this.places.memory, file), digest };
  }

  /** How the record names memory that was written into the VM's own directory. */
  async #nameMemory({ layers, device, facts }: KeptMemory): Promise<MemoryRecord> {
    const named = layers.map(({ path, digest }) => ({ file: basename(path), digest }));
    const earlier = Object.fromEntries(
      Object.entries(this.#record.memory?.seals ?? {}).filter(([name]) =>
        named.some(({ file }) => file === name),
      ),
    );
    const written = [...named.map(({ file }) => file).filter((file) => !earlier[file]), stateFile];
    return {
      layers: named,
      seals: { ...earlier, ...(await sealsOf(this.places.memory, written)) },
      state: 'kept',
      device: device.digest,
      facts: { ...facts },
    };
  }

  get #ramBytes(): number {
    return this.#request.shape.memoryMiB * 2 ** 20;
  }

  async pause(options: BackendCallOptions = {}): Promise<void> {
    await pauseMachine(this.#live(), options.signal);
  }

  async resume(options: BackendCallOptions = {}): Promise<void> {
    await resumeMachine(this.#live(), this.#context, this.#record.mac, options.signal);
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
      await boundLayers(this, running?.machine, host.programs.img, signal);
      const files = {
        ...(await exportSnapshot(this, request.dir, signal)),
        ...(memory && (await exportMemory(memory, request.dir))),
      };
      return snapshotManifest(this.#request, host.qemu.text, files, memory?.facts);
    } catch (error) {
      throw signal?.aborted ? cancelled(what, signal) : error;
    }
  }

  async #snapshotOff(memory: 'include' | 'exclude'): Promise<KeptMemory | undefined> {
    await this.#cleared();
    await this.#takeBackStart();
    await freezeDiskOff(this);
    const record = this.#record.memory;
    if (memory === 'exclude' || record?.state !== 'kept') return undefined;
    return keptMemory(this.places.memory, record);
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
      disk: this,
      ramBytes: request.memory === 'include' ? this.#ramBytes : undefined,
      spillPath: join(request.dir, 'capture.spill'),
      afterwards: 'goes on',
      ...options,
    });
    if (!captured.memory) return undefined;
    await using pages = captured.memory;
    options.onProgress?.('writing what changed in memory');
    const kept = await pages.write(request.dir, this.#layersBelow(request.parent), options.signal);
    updateRunRecord(running.machine.places.runPath, { lastLayer: kept.layers.at(-1)?.digest.sha256 ?? null });
    await this.#context.at('capture.written');
    return kept;
  }

  /**
   * What a snapshot's memory builds on: the snapshot before it when that was of this very run, so that only what changed since is
   * written; else what the machine is mapped from.
   */
  #layersBelow(parent: { dir: string; manifest: SnapshotManifest } | undefined): readonly KeptLayer[] {
    const own = this.#record.memory?.layers.map(({ file, digest }) => this.#keptLayer(file, digest)) ?? [];
    const theirs = parent && snapshotMemory(parent.dir, parent.manifest)?.layers;
    const { lastLayer } = readRunRecord(this.#machinePlaces().runPath) ?? {};
    return theirs && theirs.at(-1)?.digest.sha256 === lastLayer ? theirs : own;
  }

  async destroy(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    if (running) {
      await running.line.close();
      await running.machine.finish('kill').catch(() => undefined); // The sweep below tries again, and tells.
    }
    await this.#clearing.catch(() => undefined);
    await sweep(this.#machinePlaces(), this.#context.clock);
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
    return machineIn(this.#context.stateDir, this.places.machineDir, this.id);
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
