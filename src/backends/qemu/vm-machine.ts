import { AlcoveError } from '../../errors.ts';
import type { GuestChannel } from '../../guest/index.ts';
import { ConsoleLog } from './console-log.ts';
import type { QemuContext } from './context.ts';
import { waitForEnd } from './end-process.ts';
import { GuestLine } from './guest-line.ts';
import { type RunningMachine, wakeLeftAlone } from './guest-power.ts';
import { unusedImageBytes } from './image-ahead.ts';
import { endingMs, type Machine } from './machine.ts';
import { type QmpRunState, queryRunState } from './qmp-commands.ts';
import { recoverMachine } from './recover-machine.ts';
import { readRunRecord } from './run-record.ts';
import type { StartedMachine } from './start-machine.ts';
import { machineIn, sweep, tidy } from './sweep.ts';
import type { VmFiles } from './vm-files.ts';
import type { MachinePlaces } from './vm-places.ts';

/** The one machine that a VM has, while it has one, and what there is to clear up after it. */
export class VmMachine {
  readonly #context: QemuContext;
  readonly #files: VmFiles;
  readonly #listeners = new Set<(reason: string) => void>();
  #running: RunningMachine | undefined;
  /** Clearing up after a machine that ended. */
  #clearing: Promise<void> = Promise.resolve();
  #console: ConsoleLog;

  constructor(context: QemuContext, files: VmFiles) {
    this.#context = context;
    this.#files = files;
    this.#console = ConsoleLog.load(files.places.consolePath);
  }

  get running(): RunningMachine | undefined {
    return this.#running;
  }

  /** @throws AlcoveError `GuestUnreachable` when there is none */
  live(): RunningMachine {
    if (this.#running) return this.#running;
    throw new AlcoveError('GuestUnreachable', `${this.#files.places.id} is not running`);
  }

  /** @throws AlcoveError `VmFailed` of a machine that does not say and has not ended: nobody knows then */
  async state(): Promise<QmpRunState | 'none' | 'gone'> {
    if (!this.#running) {
      await this.cleared();
      return 'none';
    }
    const { process, qmp } = this.#running.machine;
    try {
      return await queryRunState(qmp);
    } catch (error) {
      if (await waitForEnd(process, endingMs, this.#context.clock)) return 'gone';
      throw error;
    }
  }

  /** Takes charge of a machine that has come up. */
  attach({ machine, channel }: StartedMachine, console: ConsoleLog): void {
    this.#attach(machine, console, channel);
  }

  /** Looks for it after a restart of the engine, and takes charge of it. */
  async recover(): Promise<void> {
    const { clock, uids } = this.#context;
    const places = this.#places();
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

  /** Makes it the caller's, who sees to its end; nobody is told of that. */
  detach(): RunningMachine | undefined {
    const running = this.#running;
    this.#running = undefined;
    return running;
  }

  /** Ends a machine that was detached, and clears up after it. @throws as {@link cleared} */
  async clear(running: RunningMachine): Promise<void> {
    this.#clear(running);
    await this.cleared();
  }

  /** Waits until nothing is left of a machine that ended. @throws AlcoveError `VmFailed` when its process cannot be ended */
  async cleared(): Promise<void> {
    try {
      await this.#clearing;
    } catch {
      await sweep(this.#places(), this.#context.clock);
      this.#clearing = Promise.resolve();
    }
  }

  /** Ends it by force, if it is there. What that leaves is looked for once more by the next call, as it is after a start that failed. */
  async fail(error: unknown): Promise<void> {
    await this.#kill();
    this.#clearing = Promise.reject(error);
    this.#clearing.catch(() => undefined);
  }

  /** Ends it by force, and whatever else is left of one. @throws AlcoveError `VmFailed` when a process cannot be ended */
  async destroy(): Promise<void> {
    await this.#kill();
    await this.#clearing.catch(() => undefined);
    await sweep(this.#places(), this.#context.clock);
  }

  /** Lets go of it without ending it. */
  async release(): Promise<void> {
    const running = this.detach();
    this.#listeners.clear();
    await this.#clearing.catch(() => undefined);
    await running?.machine.readConsole().catch(() => undefined); // Stays in QEMU's ring for the next engine.
    await running?.line.close();
    await running?.machine.release();
  }

  async console(): Promise<string> {
    await this.#running?.machine.readConsole().catch(() => undefined); // What was read before is still told.
    return this.#console.text();
  }

  /** Told when it ends by itself. */
  onExit(listener: (reason: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #attach(machine: Machine, console: ConsoleLog, channel: GuestChannel | undefined): RunningMachine {
    const line = new GuestLine(machine.places.agentSocket, this.#context.connector, this.#context.clock);
    if (channel) line.adopt(channel);
    const running = { machine, line };
    this.#running = running;
    this.#console = console;
    void machine.ended.then((reason) => {
      if (this.#running !== running) return; // It was detached before.
      this.#running = undefined;
      this.#clear(running);
      for (const listener of this.#listeners) listener(reason);
    });
    return running;
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

  async #kill(): Promise<void> {
    const running = this.detach();
    await running?.line.close();
    await running?.machine.finish('kill').catch(() => undefined); // The sweep that follows tries again, and tells.
  }

  #places(): MachinePlaces {
    const { id, machineDir } = this.#files.places;
    return machineIn(this.#context.stateDir, machineDir, id);
  }
}
