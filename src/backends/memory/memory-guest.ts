import { AlcoveError } from '../../errors.ts';
import type { Command, DetachedCommand, ExecExit, ExecRequest, GuestProcess } from '../../guest/index.ts';
import type { Clock } from '../../host/index.ts';
import { BytePipe } from './byte-pipe.ts';
import type { CommandBehaviour, CommandHost } from './command-host.ts';
import { GuestClock } from './guest-clock.ts';
import { asGuestProcess } from './guest-process.ts';
import { MemoryCommand } from './memory-command.ts';
import type { DiskImage, MemoryDisk } from './memory-disk.ts';
import { MemorySeal } from './memory-seal.ts';
import { RetainedOutput } from './retained-output.ts';
import { commandLine, type ScriptedExit } from './script.ts';

/** A guest's memory as it lies in a state file or snapshot. The disk here has what was not synced, too. */
export interface MemoryImage {
  bootId: string;
  uptimeMs: number;
  values: Record<string, string>;
  lastPid: number;
  disk: DiskImage;
  processes: { pid: number; command: Command; detachedId?: string }[];
}

/** What a guest needs of the world outside. */
export interface GuestSurroundings {
  vmId: string;
  clock: Clock;
  random(bytes: number): Uint8Array;
  behaviourOf(request: ExecRequest): CommandBehaviour | undefined;
}

interface Detached {
  command: MemoryCommand;
  stdout: RetainedOutput;
  stderr: RetainedOutput;
  exit: ExecExit | undefined;
}

/** The inside of a machine that is on: its disk, memory and processes. */
export class MemoryGuest implements CommandHost {
  readonly vmId: string;
  readonly bootId: string;
  readonly disk: MemoryDisk;
  readonly memory: Map<string, string>;
  readonly clock: GuestClock;
  readonly seal: MemorySeal;
  readonly processes = new Map<number, string>();
  hostname = 'localhost';
  machineId = '';
  readonly #surroundings: GuestSurroundings;
  readonly #commands = new Set<MemoryCommand>();
  readonly #detached = new Map<string, Detached>();
  #lastPid: number;

  constructor(surroundings: GuestSurroundings, disk: MemoryDisk, memory?: MemoryImage) {
    this.#surroundings = surroundings;
    this.vmId = surroundings.vmId;
    this.disk = disk;
    this.bootId = memory?.bootId ?? Buffer.from(surroundings.random(16)).toString('hex');
    this.memory = new Map(Object.entries(memory?.values ?? {}));
    this.clock = new GuestClock(surroundings.clock, memory?.uptimeMs ?? 0);
    this.seal = new MemorySeal(surroundings.clock, (state) =>
      state === 'sealed' ? this.clock.stand('sealed') : this.clock.go('sealed'),
    );
    this.#lastPid = memory?.lastPid ?? 1;
    for (const { pid, command, detachedId } of memory?.processes ?? [])
      this.#revive(pid, command, detachedId);
  }

  nowMs(): number {
    return this.#surroundings.clock.now();
  }

  random(bytes: number): Uint8Array {
    return this.#surroundings.random(bytes);
  }

  nextPid(): number {
    return ++this.#lastPid;
  }

  behaviourOf(request: ExecRequest): CommandBehaviour {
    const behaviour = this.#surroundings.behaviourOf(request);
    if (behaviour) return behaviour;
    const line = commandLine(request.command);
    return async (run) => {
      await run.printError(`sh: ${line.split(' ')[0]}: not found\n`);
      return 127;
    };
  }

  /** @throws AlcoveError `CommandNotStarted` for a program there is no script of */
  exec(request: ExecRequest): GuestProcess {
    const known = this.#surroundings.behaviourOf(request) !== undefined;
    if (!known && typeof request.command !== 'string') throw notStarted(request.command[0], 'ENOENT');
    if (request.cwd !== undefined && this.disk.find(request.cwd)?.kind !== 'directory')
      throw notStarted(request.cwd, 'ENOENT');
    if (request.detachedId !== undefined) return this.#execDetached(request, request.detachedId);
    const stdout = new BytePipe();
    const stderr = new BytePipe();
    const command = this.#track(new MemoryCommand(this, request, { stdout, stderr }));
    return asGuestProcess(command, stdout, stderr, () => {
      if (command.alive && !(request.background === 'keep' && command.isOver)) command.kill('SIGKILL');
      stdout.break();
      stderr.break();
    });
  }

  /** @throws AlcoveError `CommandNotFound` */
  attach(id: string): GuestProcess {
    const detached = this.#detached.get(id);
    if (!detached) {
      throw new AlcoveError('CommandNotFound', `there is no detached command ${id}`, { details: { id } });
    }
    const stdout = detached.stdout.attach();
    const stderr = detached.stderr.attach();
    return asGuestProcess(detached.command, stdout, stderr, () => {
      stdout.break();
      stderr.break();
    });
  }

  listDetached(): DetachedCommand[] {
    return [...this.#detached].map(([id, { command, exit }]) => ({
      id,
      pid: command.pid,
      ...(exit && { exit }),
    }));
  }

  /** Ends every command that belongs to a client; detached ones and what was left in the background stay. */
  dropClients(error: Error): void {
    for (const command of [...this.#commands]) {
      if (command.request.detachedId === undefined && !command.isOver) command.vanish(error);
    }
  }

  /** The machine is gone. */
  vanish(error: Error): void {
    for (const command of [...this.#commands]) command.vanish(error);
    this.seal.break(error);
    this.clock.stand('off');
  }

  /** What a snapshot of its memory holds. Commands of clients are not in it: their streams end with the channel. */
  image(): MemoryImage {
    return {
      bootId: this.bootId,
      uptimeMs: this.clock.uptimeMs(),
      values: Object.fromEntries(this.memory),
      lastPid: this.#lastPid,
      disk: this.disk.image('written'),
      processes: [...this.#commands]
        .filter((command) => command.alive && (command.request.detachedId !== undefined || command.isOver))
        .flatMap((command) =>
          command.pids.map((pid) => ({
            pid,
            command: this.processes.get(pid) ?? '',
            ...(command.request.detachedId !== undefined && { detachedId: command.request.detachedId }),
          })),
        ),
    };
  }

  #execDetached(request: ExecRequest, id: string): GuestProcess {
    if (this.#detached.has(id)) {
      throw new AlcoveError('InvalidInput', `there is a detached command ${id} already`, {
        details: { field: 'detachedId' },
      });
    }
    const stdout = new RetainedOutput();
    const stderr = new RetainedOutput();
    const command = this.#track(new MemoryCommand(this, request, { stdout, stderr }));
    const detached: Detached = { command, stdout, stderr, exit: undefined };
    this.#detached.set(id, detached);
    command.exited.then(
      (exit) => {
        detached.exit = exit;
      },
      () => this.#detached.delete(id),
    );
    return this.attach(id);
  }

  /** A process that was in the memory of a snapshot: it is there, and goes on until it is killed. */
  #revive(pid: number, line: Command, detachedId: string | undefined): void {
    const request: ExecRequest = { command: line, ...(detachedId !== undefined && { detachedId }) };
    const stdout = new RetainedOutput();
    const stderr = new RetainedOutput();
    const behaviour = () => new Promise<ScriptedExit>(() => undefined);
    const command = this.#track(new MemoryCommand(this, request, { stdout, stderr, pid, behaviour }));
    if (detachedId !== undefined)
      this.#detached.set(detachedId, { command, stdout, stderr, exit: undefined });
  }

  #track(command: MemoryCommand): MemoryCommand {
    this.#commands.add(command);
    void command.gone.then(() => this.#commands.delete(command));
    return command;
  }
}

function notStarted(what: string, errno: string): AlcoveError<'CommandNotStarted'> {
  return new AlcoveError('CommandNotStarted', `cannot start ${what}: ${errno}`, { details: { what, errno } });
}
