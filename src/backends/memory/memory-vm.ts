import type { GuestChannel } from '../../guest/index.ts';
import type {
  BackendCallOptions,
  BackendHandle,
  BackendVm,
  MachineImage,
  MachineShape,
  PhysicalState,
  SnapshotManifest,
  SpareKey,
  StartRequest,
} from '../../vm/backend.ts';
import type { MemoryCall } from './call-log.ts';
import type { MemoryPoint } from './faults.ts';
import { unreachable } from './guest-error.ts';
import { MemoryChannel } from './memory-channel.ts';
import { type DiskImage, MemoryDisk } from './memory-disk.ts';
import { MemoryGuest } from './memory-guest.ts';
import type { MemoryMachine, MemoryWorld } from './memory-world.ts';
import { spareKeys } from './spare-keys.ts';
import { loadMachine, type StoredMachine, storeMachine, storeSnapshot } from './stored-machine.ts';
import { endTakenSpare, takeSpare } from './take-spare.ts';

/** What a VM shares with its backend. */
export interface VmHost {
  readonly world: MemoryWorld;
  readonly facts: Readonly<Record<string, string>>;
  readonly incremental: boolean;
  readonly canPause: boolean;
  log(vm: string, call: MemoryCall, about?: string): void;
  /** Passes a named point, unless a fault was planned there or this backend is dead. */
  pass(point: MemoryPoint, vm: string, options: BackendCallOptions | undefined): Promise<void>;
  /** Work with files; of a backend that dies meanwhile it never returns. */
  onDisk<T>(work: Promise<T>): Promise<T>;
  /** Lets go of a VM. */
  forget(vm: MemoryVm): void;
}

/** A scripted VM: its disk in `dir`, its machine, while it is on, in the world. */
export class MemoryVm implements BackendVm {
  readonly id: string;
  readonly handle: BackendHandle;
  pause?: (options?: BackendCallOptions) => Promise<void>;
  resume?: (options?: BackendCallOptions) => Promise<void>;
  readonly #dir: string;
  readonly #shape: MachineShape;
  readonly #image: MachineImage;
  readonly #host: VmHost;
  readonly #exitListeners = new Set<(reason: string) => void>();
  readonly #onDeath = (reason: string) => {
    this.#channel = undefined;
    for (const listener of [...this.#exitListeners]) listener(reason);
  };
  #channel: MemoryChannel | undefined;
  /** The last snapshot that was taken, for the next to build on. */
  #line: { dir: string; disk: DiskImage } | undefined;
  #origin: StoredMachine['origin'];

  constructor(
    host: VmHost,
    request: { id: string; dir: string; shape: MachineShape; image: MachineImage },
    origin: StoredMachine['origin'],
  ) {
    this.#host = host;
    this.id = request.id;
    this.#dir = request.dir;
    this.#shape = request.shape;
    this.#image = request.image;
    this.#origin = origin;
    this.handle = { dir: request.dir };
    this.#machine?.onDeath.add(this.#onDeath);
    if (host.canPause) {
      this.pause = (options) => this.#setPaused('pause', options);
      this.resume = (options) => this.#setPaused('resume', options);
    }
  }

  get #machine(): MemoryMachine | undefined {
    return this.#host.world.machine(this.#dir);
  }

  /** Names of the spares that its next start could take. */
  get spareKeys(): SpareKey[] {
    return spareKeys(this.#shape, this.#image, this.#origin);
  }

  async observe(): Promise<PhysicalState> {
    const machine = this.#machine;
    if (machine) return machine.state;
    return (await this.#load()).memory ? 'suspended' : 'off';
  }

  async start(request: StartRequest, options?: BackendCallOptions): Promise<void> {
    const { world } = this.#host;
    this.#host.log(this.id, 'start');
    await this.#host.pass('start.begin', this.id, options);
    const stored = await this.#load();
    const disk = new MemoryDisk(stored.disk, stored.memory?.disk);
    const guest = new MemoryGuest(
      {
        vmId: this.id,
        clock: world.clock,
        random: (bytes) => world.random(bytes),
        behaviourOf: (command) => world.behaviourOf(command),
      },
      disk,
      stored.memory,
    );
    guest.hostname = request.hostname;
    guest.machineId = request.machineId;
    await this.#host.pass('start.middle', this.id, options);
    try {
      if (request.spare) await takeSpare(this.#host, this, this.#dir, request.spare, options);
      world.powerOn(this.#dir, { id: this.id, guest, state: 'running', onDeath: new Set([this.#onDeath]) });
      endTakenSpare(world, this.#dir); // It is the VM's machine now.
      guest.clock.go('off');
      await this.#store({ format: 1, disk: stored.disk }); // Kept memory is used up by a start.
      await this.#host.pass('start.end', this.id, options);
      if (!this.#machine) throw unreachable(this.id, 'it died while it started');
      this.#origin = undefined;
    } catch (error) {
      endTakenSpare(world, this.#dir);
      world.powerOff(this.#dir, 'it could not be started');
      await this.#store(stored);
      throw error;
    }
  }

  async stop(request: { graceMs: number; memory?: true }, options?: BackendCallOptions): Promise<void> {
    this.#host.log(this.id, 'stop', request.memory && 'memory');
    await this.#host.pass('stop.begin', this.id, options);
    const machine = this.#machine;
    await this.#host.pass('stop.middle', this.id, options);
    if (machine && this.#machine === machine) {
      machine.guest.disk.sync();
      const memory = request.memory ? machine.guest.image() : undefined;
      this.#origin = memory && 'own memory';
      this.#host.world.powerOff(this.#dir, 'it was stopped');
      this.#channel = undefined;
      await this.#store({
        format: 1,
        disk: machine.guest.disk.image('synced'),
        ...(memory && { memory, origin: 'own memory' }),
      });
    }
    await this.#host.pass('stop.end', this.id, options);
  }

  async snapshot(
    request: { dir: string; memory: 'include' | 'exclude'; parent?: { dir: string } },
    options?: BackendCallOptions,
  ): Promise<SnapshotManifest> {
    this.#host.log(this.id, 'snapshot', request.dir);
    await this.#host.pass('snapshot.begin', this.id, options);
    const content = await this.#capture(request.memory, options);
    const line = this.#line;
    const parentDisk =
      this.#host.incremental && line && line.dir === request.parent?.dir ? line.disk : undefined;
    const manifest = await this.#host.onDisk(
      storeSnapshot(request.dir, content, parentDisk, {
        shape: this.#shape,
        imageDigest: this.#image.digest,
        facts: this.#host.facts,
      }),
    );
    await this.#host.pass('snapshot.end', this.id, options);
    this.#line = { dir: request.dir, disk: content.disk };
    return manifest;
  }

  async destroy(): Promise<void> {
    this.#host.log(this.id, 'destroy');
    await this.#host.pass('destroy.begin', this.id, undefined);
    this.#host.world.powerOff(this.#dir, 'it was destroyed');
    endTakenSpare(this.#host.world, this.#dir);
    await this.#host.pass('destroy.middle', this.id, undefined);
    this.#host.world.leftDisks.delete(this.#dir);
    this.#host.world.consoles.delete(this.#dir);
    this.#channel = undefined;
    await this.#host.pass('destroy.end', this.id, undefined);
    this.#host.forget(this);
  }

  async guest(options: BackendCallOptions = {}): Promise<GuestChannel> {
    options.signal?.throwIfAborted();
    const machine = this.#machine;
    if (machine?.state !== 'running')
      throw unreachable(this.id, machine ? 'it is paused' : 'it is not running');
    const { world } = this.#host;
    this.#channel ??= new MemoryChannel(machine.guest, {
      log: ({ vm, call, about }) => this.#host.log(vm, call, about),
      portHandler: (vm, port) => world.portHandler(vm, port),
      shape: this.#shape,
    });
    return this.#channel;
  }

  async console(): Promise<string> {
    return this.#host.world.consoles.get(this.#dir) ?? '';
  }

  onExit(listener: (reason: string) => void): () => void {
    this.#exitListeners.add(listener);
    return () => this.#exitListeners.delete(listener);
  }

  async release(): Promise<void> {
    this.#host.log(this.id, 'release');
    this.letGo();
    this.#host.forget(this);
  }

  /** Closes what belongs to this engine; the machine runs on. */
  letGo(): void {
    this.#machine?.onDeath.delete(this.#onDeath);
    this.#channel?.break(unreachable(this.id, 'the engine let go of it'));
    this.#channel = undefined;
    this.#exitListeners.clear();
  }

  async #setPaused(call: 'pause' | 'resume', options: BackendCallOptions | undefined): Promise<void> {
    this.#host.log(this.id, call);
    await this.#host.pass(`${call}.begin`, this.id, options);
    await this.#host.pass(`${call}.middle`, this.id, options);
    const machine = this.#machine;
    if (!machine) throw unreachable(this.id, 'it is not running');
    const before = machine.state;
    setState(machine, call === 'pause' ? 'paused' : 'running');
    try {
      await this.#host.pass(`${call}.end`, this.id, options);
    } catch (error) {
      setState(machine, before);
      throw error;
    }
  }

  /** One instant of disk and memory; the machine stands still for it and goes on whatever happens. */
  async #capture(
    memory: 'include' | 'exclude',
    options: BackendCallOptions | undefined,
  ): Promise<{ disk: DiskImage; memory?: StoredMachine['memory'] & object }> {
    const machine = this.#machine;
    if (!machine) {
      const stored = await this.#load();
      await this.#host.pass('snapshot.middle', this.id, options);
      return { disk: stored.disk, ...(memory === 'include' && stored.memory && { memory: stored.memory }) };
    }
    const before = machine.state;
    setState(machine, 'paused');
    try {
      if (before === 'running') machine.guest.disk.sync(); // A paused guest cannot flush.
      const disk = machine.guest.disk.image('synced');
      const captured = memory === 'include' ? machine.guest.image() : undefined;
      await this.#host.pass('snapshot.middle', this.id, options);
      if (this.#machine !== machine) throw unreachable(this.id, 'it died while its snapshot was taken');
      return { disk, ...(captured && { memory: captured }) };
    } finally {
      setState(machine, before);
    }
  }

  async #load(): Promise<StoredMachine> {
    const stored = await this.#host.onDisk(loadMachine(this.#dir));
    const left = this.#host.world.leftDisks.get(this.#dir);
    return left ? { format: 1, disk: left } : stored;
  }

  async #store(stored: StoredMachine): Promise<void> {
    await this.#host.onDisk(storeMachine(this.#dir, stored));
    this.#host.world.leftDisks.delete(this.#dir);
  }
}

function setState(machine: MemoryMachine, state: 'running' | 'paused'): void {
  machine.state = state;
  if (state === 'running') machine.guest.clock.go('paused');
  else machine.guest.clock.stand('paused');
}
