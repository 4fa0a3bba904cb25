import { chmod } from 'node:fs/promises';
import { AlcoveError } from '../../errors.ts';
import type { Clock, ProcessIdentity } from '../../host/index.ts';
import { isAlive } from '../../host/index.ts';
import type { ConsoleLog } from './console-log.ts';
import { killProcess, waitForEnd } from './end-process.ts';
import { consoleBytes, consoleChardev } from './machine-args.ts';
import { boundLog, lastLogLines } from './qemu-log.ts';
import { readRing } from './qmp-commands.ts';
import { QmpConnection, type QmpEvent } from './qmp-connection.ts';
import type { MachinePlaces } from './vm-places.ts';

const logWatchMs = 30_000;
/** For a process whose monitor connection broke to be seen to end. */
export const endingMs = 1000;

export interface MachineOptions {
  process: ProcessIdentity;
  places: MachinePlaces;
  console: ConsoleLog;
  clock: Clock;
  /** For the monitor to answer. */
  timeoutMs: number;
  /** How the process ended, when it was started here. */
  exit?: Promise<string>;
  signal?: AbortSignal;
}

/** A QEMU process with its monitor connection: from the spawning, or the finding again, to its end. */
export class Machine {
  readonly process: ProcessIdentity;
  readonly qmp: QmpConnection;
  /** Resolves with the reason, for people, once the guest or the process has ended, whoever ended it. */
  readonly ended: Promise<string>;
  /** Resolves once the process is gone, or was let go. */
  readonly gone: Promise<void>;
  readonly #gone = Promise.withResolvers<void>();
  #options: MachineOptions;
  #finishing: Promise<void> | undefined;
  #released: 'no' | 'yes' = 'no';
  #reading: Promise<void> = Promise.resolve();
  #stopWatching: () => void = () => undefined;

  private constructor(options: MachineOptions, qmp: QmpConnection, shutdown: Promise<QmpEvent>) {
    this.#options = options;
    this.process = options.process;
    this.qmp = qmp;
    this.gone = this.#gone.promise;
    this.ended = Promise.race([
      shutdown.then((event) => this.#describeShutdown(event)),
      qmp.closed.then((error) => this.#describeDeath(error)),
    ]);
    void qmp.closed.then(() => this.#stopWatching());
    this.#watchLog();
  }

  /** Connects to the monitor of a process that runs. @throws AlcoveError `VmFailed` with QEMU's own last words */
  static async connect(options: MachineOptions): Promise<Machine> {
    const { clock, places, process, timeoutMs } = options;
    const shutdown = Promise.withResolvers<QmpEvent>();
    const died = new AbortController();
    void options.exit?.then(() => died.abort());
    try {
      const qmp = await QmpConnection.open({
        path: places.qmpSocket,
        clock,
        timeoutMs,
        signal: options.signal ? AbortSignal.any([options.signal, died.signal]) : died.signal,
        onEvent: (event) => {
          if (event.name === 'SHUTDOWN' || event.name === 'GUEST_PANICKED') shutdown.resolve(event);
        },
      });
      // Their directory is private already; they need not rely on it.
      try {
        for (const path of [places.qmpSocket, places.agentSocket]) await chmod(path, 0o600);
      } catch (error) {
        qmp[Symbol.dispose]();
        throw error;
      }
      return new Machine(options, qmp, shutdown.promise);
    } catch (cause) {
      // A process that is ending closes its socket before it can be seen to have ended.
      if (options.signal?.aborted || !(await waitForEnd(process, endingMs, clock))) throw cause;
      const said = lastLogLines(places.logPath);
      throw new AlcoveError(
        'VmFailed',
        `QEMU ended before it could be controlled: ${said || 'it said nothing'}`,
        {
          cause,
        },
      );
    }
  }

  get places(): MachinePlaces {
    return this.#options.places;
  }

  /** Its directory was moved: it was a spare, and is a VM's now. */
  moveTo(places: MachinePlaces, console: ConsoleLog): void {
    this.#options = { ...this.#options, places, console };
  }

  /** Reads what the guest printed since the last call into the console's log. */
  readConsole(): Promise<void> {
    const read = async () => {
      const { console } = this.#options;
      const bytes = await readRing(this.qmp, consoleChardev, consoleBytes);
      if (bytes.length === 0) return;
      console.append(bytes);
      await console.save();
    };
    this.#reading = this.#reading.then(read, read);
    return this.#reading;
  }

  /**
   * Ends the process and waits until it is gone: console read, QEMU asked to flush and leave, killed when it does not.
   * May be called any number of times.
   */
  finish(how: 'flush' | 'kill' = 'flush'): Promise<void> {
    this.#finishing ??= this.#finish(how);
    return this.#finishing;
  }

  /** Lets go of the process without ending it. */
  async release(): Promise<void> {
    this.#released = 'yes';
    this.#gone.resolve();
    await this.#reading.catch(() => undefined); // What was read is saved before another engine may look.
    this.qmp[Symbol.dispose]();
  }

  /** QEMU says little, but a guest may find out how to make it say more. */
  #watchLog(): void {
    const { clock, places } = this.#options;
    this.#stopWatching = clock.timer(logWatchMs, () => {
      boundLog(places.logPath);
      this.#watchLog();
    });
  }

  async #finish(how: 'flush' | 'kill'): Promise<void> {
    const { clock } = this.#options;
    try {
      if (how === 'flush' && isAlive(this.process)) {
        await this.readConsole();
        await this.qmp.execute('quit');
        await waitForEnd(this.process, 5000, clock);
      }
    } catch {
      // It does not answer: what it would have said is lost, and it is ended by force.
    } finally {
      await killProcess(this.process, clock);
      this.#gone.resolve();
      this.qmp[Symbol.dispose]();
    }
  }

  async #describeShutdown(event: QmpEvent): Promise<string> {
    if (this.#released === 'yes') return 'it was let go';
    await this.readConsole().catch(() => undefined); // The reason is then told without it.
    const panic = /Kernel panic[^\n]*/.exec(this.#options.console.text())?.[0];
    if (event.name === 'GUEST_PANICKED' || panic)
      return `the guest's kernel panicked: ${panic ?? 'no more is known'}`;
    switch (event.data.reason) {
      case 'guest-shutdown':
        return 'the guest powered off';
      case 'guest-reset':
        return 'the guest rebooted, which ends a VM';
      case 'host-signal':
        return 'its QEMU process was told to end by a signal';
      default:
        return `its QEMU process ended (${String(event.data.reason ?? 'no reason given')})`;
    }
  }

  async #describeDeath(error: Error): Promise<string> {
    const { clock, exit, places } = this.#options;
    if (this.#released === 'yes') return 'it was let go';
    if (!(await waitForEnd(this.process, endingMs, clock)))
      return `the monitor connection to its QEMU process broke: ${error.message}`;
    const how = exit ? ` (${await exit})` : '';
    const said = lastLogLines(places.logPath);
    return `its QEMU process died${how}${said ? `: ${said}` : ''}`;
  }
}
