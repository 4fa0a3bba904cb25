import { existsSync } from 'node:fs';
import { AlcoveError } from '../../errors.ts';
import { type Clock, systemClock } from '../../host/index.ts';
import type {
  BackendCallOptions,
  BackendCapabilities,
  BackendProbe,
  BackendVm,
  CreateRequest,
  RecoverRequest,
  RestoreRequest,
  VmBackend,
} from '../../vm/backend.ts';
import type { MemoryCall, MemoryLogEntry } from './call-log.ts';
import type { FaultOptions, MemoryPoint } from './faults.ts';
import type { PortHandler } from './memory-channel.ts';
import { emptyDisk } from './memory-disk.ts';
import { MemorySpares } from './memory-spares.ts';
import { MemoryVm, type VmHost } from './memory-vm.ts';
import { MemoryWorld } from './memory-world.ts';
import type { Behaviour, ScriptMatch } from './script.ts';
import { loadMachine, loadSnapshot, type StoredMachine, storeMachine } from './stored-machine.ts';
import { endTakenSpare } from './take-spare.ts';

export interface MemoryBackendOptions {
  /** Time of the guests and of scripted delays. @default the system's */
  clock?: Clock;
  /** What it says it can do. @default everything */
  capabilities?: BackendCapabilities;
  /** Facts of its snapshots; a snapshot with others is refused. @default `{ model: '1' }` */
  facts?: Record<string, string>;
  /** Whether a VM's snapshots build on the one before. @default 'no' */
  incremental?: 'yes' | 'no';
  /** Whether it makes machines ahead of need. @default 'yes' */
  spares?: 'yes' | 'no';
  /** Why it cannot be used, for `probe`. @default it can */
  unusable?: { reason: string; remedy: string };
}

/**
 * A backend without machines, for tests: of Alcove itself, and of what is built on it. It obeys the same contract as a real
 * one, keeps a log of what it was asked, runs scripted commands, and fails, hangs, or loses power where it is told to.
 *
 * @example
 * const backend = new MemoryBackend();
 * backend.script('npm test', { stdout: 'ok\n', delayMs: 1200 });
 * backend.script(/^curl /, async (run) => { await run.printError('no network\n'); return 6; });
 * backend.fail('start.middle', new Error('out of luck'));
 */
export class MemoryBackend implements VmBackend {
  readonly name = 'memory';
  readonly spares?: MemorySpares;
  readonly #world: MemoryWorld;
  readonly #options: MemoryBackendOptions;
  readonly #vms = new Set<MemoryVm>();
  readonly #host: VmHost;
  readonly #diskWork = new Set<Promise<unknown>>();
  #dead = false;

  constructor(options: MemoryBackendOptions = {}, world?: MemoryWorld) {
    this.#options = options;
    this.#world = world ?? new MemoryWorld(options.clock ?? systemClock);
    this.#world.onPowerLoss(() => this.#die());
    this.#host = {
      world: this.#world,
      facts: options.facts ?? { model: '1' },
      incremental: options.incremental === 'yes',
      canPause: this.#capabilities.pause === true,
      log: (vm, call, about) => this.#log(vm, call, about),
      pass: (point, vm, call) => this.#pass(point, vm, call),
      onDisk: (work) => this.#onDisk(work),
      forget: (vm) => this.#vms.delete(vm),
    };
    if (options.spares !== 'no') this.spares = new MemorySpares(this.#host);
  }

  get #capabilities(): BackendCapabilities {
    return this.#options.capabilities ?? { memorySnapshots: true, userNetwork: true, pause: true };
  }

  /** Every call so far, in order, across restarts. */
  get log(): readonly MemoryLogEntry[] {
    return this.#world.log;
  }

  /** Ids of the machines that are on. */
  get running(): string[] {
    return this.#world.running.flatMap((dir) => this.#world.machine(dir)?.id ?? []).sort();
  }

  /** Ids of the machines that wait for a VM, or are just being taken over by one. */
  get waiting(): string[] {
    return [...this.#world.spares.values()].map(({ id }) => id).sort();
  }

  /** Says what a command does, in every VM. A later script goes before an earlier one, and both before the built-in commands. */
  script(match: ScriptMatch, behaviour: Behaviour): this {
    this.#world.addScript(match, behaviour);
    return this;
  }

  /** Serves a port of the guests. @param options.vm only of this one */
  listen(port: number, handler: PortHandler, options: { vm?: string } = {}): this {
    this.#world.addPort(port, handler, options.vm);
    return this;
  }

  /** Lets a call fail at a point. The contract holds all the same: it has left things as they were. */
  fail(point: MemoryPoint, error: Error, options: FaultOptions = {}): this {
    this.#world.faults.plan(point, { kind: 'fail', error }, options);
    return this;
  }

  /** Lets a call stop at a point until it is released, or its signal fires. */
  hang(point: MemoryPoint, options: FaultOptions = {}): { reached: Promise<void>; release(): void } {
    const reached = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    this.#world.faults.plan(
      point,
      { kind: 'hang', reached: reached.resolve, released: released.promise },
      options,
    );
    return { reached: reached.promise, release: released.resolve };
  }

  /**
   * Lets the power go, at a point or now: every machine ends, what was not synced is gone, and no call on this backend ever
   * returns. Go on with {@link restarted}.
   */
  losePower(point?: MemoryPoint, options: FaultOptions = {}): this {
    if (point === undefined) this.#world.losePower();
    else this.#world.faults.plan(point, { kind: 'lose power' }, options);
    return this;
  }

  /** Takes back every fault that has not happened yet. */
  clearFaults(): this {
    this.#world.faults.clear();
    return this;
  }

  /** Ends a VM's machine from outside, without a stop: what was not synced is gone. */
  dieByItself(vm: string, reason: string): void {
    const found = this.#world.machineOf(vm);
    if (!found) throw new Error(`VM ${vm} is not running`);
    this.#world.powerOff(found.dir, reason);
    for (const tell of [...found.machine.onDeath]) tell(reason);
  }

  /** Ends a spare from outside. */
  spareDies(id: string, reason: string): void {
    const found = [...this.#world.spares].find(([, machine]) => machine.id === id);
    if (!found) throw new Error(`there is no spare ${id}`);
    this.#world.spares.delete(found[0]);
    for (const tell of [...found[1].onDeath]) tell(reason);
  }

  /**
   * The backend of the next engine on the same host: machines run on. This one is dead from now on, as if its process had
   * been killed: its calls never return and it hears of nothing. Resolves when the last file it was writing is written.
   */
  async restarted(): Promise<MemoryBackend> {
    this.#die();
    while (this.#diskWork.size > 0) await Promise.allSettled(this.#diskWork);
    return new MemoryBackend(this.#options, this.#world);
  }

  async probe(): Promise<BackendProbe> {
    const { unusable, facts = { model: '1' } } = this.#options;
    if (unusable) return { usable: false, ...unusable };
    return { usable: true, version: '1', facts, capabilities: this.#capabilities };
  }

  async create(request: CreateRequest, options?: BackendCallOptions): Promise<BackendVm> {
    this.#log(request.id, 'create');
    await this.#pass('create.begin', request.id, options);
    await this.#onDisk(storeMachine(request.dir, { format: 1, disk: emptyDisk(), origin: 'image' }));
    await this.#pass('create.middle', request.id, options);
    await this.#pass('create.end', request.id, options);
    return this.#open(request, 'image');
  }

  async restore(request: RestoreRequest, options?: BackendCallOptions): Promise<BackendVm> {
    this.#log(request.id, 'restore', request.snapshot.dir);
    await this.#pass('restore.begin', request.id, options);
    for (const [fact, expected] of Object.entries(request.snapshot.manifest.facts)) {
      const found = this.#host.facts[fact] ?? 'none';
      if (found === expected) continue;
      throw new AlcoveError(
        'SnapshotIncompatible',
        `the snapshot needs ${fact} ${expected}, here it is ${found}`,
        {
          details: { fact, expected, found },
        },
      );
    }
    const { disk, memory } = await this.#onDisk(loadSnapshot(request.snapshot));
    const origin = memory && request.memory === 'include' ? { snapshot: request.snapshot.dir } : undefined;
    const content = { disk, ...(origin && { memory, origin }) };
    await this.#pass('restore.middle', request.id, options);
    await this.#onDisk(storeMachine(request.dir, { format: 1, ...content }));
    await this.#pass('restore.end', request.id, options);
    return this.#open(request, origin);
  }

  async recover(request: RecoverRequest, options?: BackendCallOptions): Promise<BackendVm> {
    this.#log(request.id, 'recover');
    await this.#pass('recover.begin', request.id, options);
    await this.#pass('recover.middle', request.id, options);
    endTakenSpare(this.#world, request.dir);
    const isOn = this.#world.machine(request.dir) !== undefined;
    const origin = isOn ? undefined : (await this.#onDisk(loadMachine(request.dir))).origin;
    await this.#pass('recover.end', request.id, options);
    return this.#open(request, origin);
  }

  async reap(request: { id: string; dir: string }): Promise<void> {
    this.#log(request.id, 'reap');
    await this.#pass('reap.begin', request.id, undefined);
    await this.#pass('reap.middle', request.id, undefined);
    this.#world.powerOff(request.dir, 'nobody knew it');
    endTakenSpare(this.#world, request.dir);
    const disk = this.#world.leftDisks.get(request.dir);
    if (disk && existsSync(request.dir)) await this.#onDisk(storeMachine(request.dir, { format: 1, disk }));
    this.#world.leftDisks.delete(request.dir);
    this.#world.consoles.delete(request.dir);
    await this.#pass('reap.end', request.id, undefined);
  }

  #open(request: CreateRequest, origin: StoredMachine['origin']): MemoryVm {
    const vm = new MemoryVm(this.#host, request, origin);
    this.#vms.add(vm);
    return vm;
  }

  #log(vm: string, call: MemoryCall, about?: string): void {
    this.#world.log.push({ vm, call, ...(about !== undefined && { about }) });
  }

  async #pass(point: MemoryPoint, vm: string, options: BackendCallOptions | undefined): Promise<void> {
    if (!this.#dead) await this.#world.faults.pass(point, vm, options?.signal);
    if (this.#dead) await new Promise(() => undefined);
  }

  async #onDisk<T>(work: Promise<T>): Promise<T> {
    this.#diskWork.add(work);
    try {
      return await work;
    } finally {
      this.#diskWork.delete(work);
      if (this.#dead) await new Promise(() => undefined);
    }
  }

  #die(): void {
    this.#dead = true;
    for (const vm of this.#vms) vm.letGo();
    this.spares?.letGo();
    this.#vms.clear();
  }
}
