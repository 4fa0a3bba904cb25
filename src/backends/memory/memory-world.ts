import { createHash } from 'node:crypto';
import type { ExecRequest } from '../../guest/index.ts';
import type { Clock } from '../../host/index.ts';
import { findBuiltin } from './builtin-commands.ts';
import type { MemoryLogEntry } from './call-log.ts';
import type { CommandBehaviour } from './command-host.ts';
import { Faults } from './faults.ts';
import { unreachable } from './guest-error.ts';
import type { PortHandler } from './memory-channel.ts';
import type { DiskImage } from './memory-disk.ts';
import type { MemoryGuest } from './memory-guest.ts';
import { type Behaviour, matches, play, type ScriptMatch } from './script.ts';

/** A machine that is on. */
export interface MemoryMachine {
  readonly id: string;
  readonly guest: MemoryGuest;
  state: 'running' | 'paused';
  /** Told when it ends without having been asked to. */
  readonly onDeath: Set<(reason: string) => void>;
}

/** A machine that waits for a VM. */
export interface WaitingMachine {
  readonly id: string;
  /** Whether a start has laid hands on it: it is of no use to anybody else then. */
  taken: boolean;
  /** Told when it ends without having been asked to. */
  readonly onDeath: Set<(reason: string) => void>;
}

/**
 * The host that scripted machines run on: it outlives the backends that connect to it, as real machines outlive the
 * engine. Machines are found by their directory.
 */
export class MemoryWorld {
  readonly clock: Clock;
  readonly log: MemoryLogEntry[] = [];
  readonly faults: Faults;
  readonly consoles = new Map<string, string>();
  /** What lies on the disks of machines that ended without a stop, by directory. */
  readonly leftDisks = new Map<string, DiskImage>();
  /** Machines made ahead of need that are on, by directory. */
  readonly spares = new Map<string, WaitingMachine>();
  readonly #machines = new Map<string, MemoryMachine>();
  readonly #scripts: { match: ScriptMatch; behaviour: Behaviour }[] = [];
  readonly #ports: { port: number; vm: string | undefined; handler: PortHandler }[] = [];
  readonly #onPowerLoss = new Set<() => void>();
  #drawn = 0;

  constructor(clock: Clock) {
    this.clock = clock;
    this.faults = new Faults(() => this.losePower());
  }

  /** Directories of the machines that are on. */
  get running(): string[] {
    return [...this.#machines.keys()];
  }

  machine(dir: string): MemoryMachine | undefined {
    return this.#machines.get(dir);
  }

  machineOf(vm: string): { dir: string; machine: MemoryMachine } | undefined {
    for (const [dir, machine] of this.#machines) if (machine.id === vm) return { dir, machine };
    return undefined;
  }

  powerOn(dir: string, machine: MemoryMachine): void {
    this.#machines.set(dir, machine);
    this.write(dir, `${machine.id}: power on\n`);
  }

  /** Ends a machine. Its disk keeps what was synced. */
  powerOff(dir: string, why: string): MemoryMachine | undefined {
    const machine = this.#machines.get(dir);
    if (!machine) return undefined;
    this.#machines.delete(dir);
    this.write(dir, `${machine.id}: power off: ${why}\n`);
    this.leftDisks.set(dir, machine.guest.disk.image('synced'));
    machine.guest.vanish(unreachable(machine.id, why));
    return machine;
  }

  /** Every machine ends at once, and so does every engine: no call that is under way ever returns. */
  losePower(): void {
    for (const tell of this.#onPowerLoss) tell();
    this.#onPowerLoss.clear();
    for (const dir of this.running) this.powerOff(dir, 'the power was lost');
    this.spares.clear();
  }

  onPowerLoss(listener: () => void): void {
    this.#onPowerLoss.add(listener);
  }

  addScript(match: ScriptMatch, behaviour: Behaviour): void {
    this.#scripts.unshift({ match, behaviour });
  }

  behaviourOf(request: ExecRequest): CommandBehaviour | undefined {
    const script = this.#scripts.find(({ match }) => matches(match, request));
    return script ? play(script.behaviour) : findBuiltin(request);
  }

  addPort(port: number, handler: PortHandler, vm: string | undefined): void {
    this.#ports.unshift({ port, vm, handler });
  }

  portHandler(vm: string, port: number): PortHandler | undefined {
    return this.#ports.find((entry) => entry.port === port && (entry.vm ?? vm) === vm)?.handler;
  }

  /** Never the same twice, and the same in every run. */
  random(bytes: number): Uint8Array {
    const drawn = this.#drawn++;
    const blocks: Buffer[] = [];
    for (let block = 0; block * 32 < bytes; block++)
      blocks.push(createHash('sha256').update(`${drawn}/${block}`).digest());
    return Uint8Array.from(Buffer.concat(blocks).subarray(0, bytes));
  }

  /** Adds to a console, of which the last 64 KiB are kept. */
  write(dir: string, text: string): void {
    this.consoles.set(dir, `${this.consoles.get(dir) ?? ''}${text}`.slice(-65_536));
  }
}
