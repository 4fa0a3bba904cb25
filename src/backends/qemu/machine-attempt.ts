import { AlcoveError, cancelled, isAlcoveError } from '../../errors.ts';
import type { GuestChannel } from '../../guest/index.ts';
import type { Clock } from '../../host/index.ts';
import type { BackendCallOptions } from '../../vm/backend.ts';
import type { ConsoleLog } from './console-log.ts';
import type { GuestConnector } from './guest-line.ts';
import { Machine } from './machine.ts';
import type { MachinePlan } from './machine-args.ts';
import type { QemuHost } from './probe-host.ts';
import { assertConfined } from './process-confinement.ts';
import { spawnQemu } from './spawn-qemu.ts';
import { sweep } from './sweep.ts';
import type { MachinePlaces } from './vm-places.ts';

export interface AttemptRequest {
  /** What is being made, for people. */
  what: string;
  places: MachinePlaces;
  console: ConsoleLog;
  clock: Clock;
  connector: GuestConnector;
  /** From the beginning to the end of the attempt. */
  timeoutMs: number;
}

/**
 * Does something with a machine that works whole or not at all, within a deadline. On failure nothing is left of the machine but
 * the console's log, unless QEMU cannot be killed: then a later sweep has to tell.
 *
 * @throws AlcoveError `VmFailed` with the console's last lines, `Cancelled`; `BackendUnavailable`, `ToolMissing`,
 * `SnapshotCorrupt`, `SnapshotIncompatible`, `StateUnusable` and `GuestHookFailed` as they are
 */
export async function attempt<T>(
  request: AttemptRequest,
  options: BackendCallOptions,
  work: (attempt: Attempt) => Promise<T>,
): Promise<T> {
  const { clock, places, timeoutMs, what } = request;
  const { signal } = options;
  if (signal?.aborted) throw cancelled(what, signal);
  const late = new AbortController();
  const stopTimer = clock.timer(timeoutMs, () => late.abort(new Error('deadline')));
  const attempt = new Attempt(request, signal ? AbortSignal.any([signal, late.signal]) : late.signal);
  try {
    return await attempt.orEnd(work(attempt));
  } catch (cause) {
    const error = await attempt.explain(cause, late.signal, signal);
    late.abort();
    await attempt.undo();
    await sweep(places, clock).catch(() => undefined); // So does the machine's next user, and tells.
    throw error;
  } finally {
    stopTimer();
  }
}

/** What outcomes are told as they are; whatever else happens, the machine did not come up. */
const toldAsTheyAre = [
  'BackendUnavailable',
  'ToolMissing',
  'SnapshotCorrupt',
  'SnapshotIncompatible',
  'StateUnusable',
  'GuestHookFailed',
] as const;

class EndedMeanwhile extends Error {}

/** One machine between nothing and use. */
export class Attempt {
  /** Fires at the deadline and when the caller goes away. */
  readonly ending: AbortSignal;
  readonly #request: AttemptRequest;
  readonly #ended = Promise.withResolvers<never>();
  readonly #undoing: (() => void)[] = [];
  #machine: Machine | undefined;
  #connecting: Promise<GuestChannel> | undefined;

  constructor(request: AttemptRequest, ending: AbortSignal) {
    this.#request = request;
    this.ending = ending;
    this.#ended.promise.catch(() => undefined); // Raced; later ends are the concern of whoever has the machine then.
  }

  /** Rejects as soon as the machine ends. */
  orEnd<T>(work: Promise<T>): Promise<T> {
    work.catch(() => undefined); // It goes on for a moment when it lost the race.
    return Promise.race([work, this.#ended.promise]);
  }

  /** Starts QEMU and looks whether it is confined; the guest does not execute yet. */
  async spawn(host: QemuHost, plan: MachinePlan, statePath?: string): Promise<Machine> {
    const { clock, console, places, timeoutMs } = this.#request;
    const spawned = await spawnQemu(host, plan, statePath);
    const machine = await Machine.connect({
      process: spawned.identity,
      exit: spawned.exit,
      places,
      console,
      clock,
      timeoutMs,
      signal: this.ending,
    });
    this.watch(machine);
    assertConfined(spawned.identity.pid, {
      uid: plan.dropTo,
      root: plan.dropTo === undefined ? undefined : places.jail,
    });
    return machine;
  }

  /** Takes charge of a machine that is there already. */
  watch(machine: Machine): void {
    this.#machine = machine;
    void machine.ended.then((reason) => {
      if (this.#machine === machine) this.#ended.reject(new EndedMeanwhile(reason));
    });
  }

  /** Ends the machine, which is no failure. */
  async finish(): Promise<void> {
    const machine = this.#machine;
    this.#machine = undefined;
    await machine?.finish('kill');
  }

  /** Gets in step with the guest. */
  async connect(line: 'fresh' | 'stale'): Promise<GuestChannel> {
    const { clock, connector, places, timeoutMs } = this.#request;
    this.#connecting = connector({
      socketPath: places.agentSocket,
      line,
      deadlineMs: timeoutMs,
      signal: this.ending,
      clock,
    });
    return this.#connecting;
  }

  /** Takes charge of a channel that is open already. */
  hold(channel: GuestChannel): GuestChannel {
    this.#connecting = Promise.resolve(channel);
    return channel;
  }

  /** What is given back when the attempt fails. */
  onUndo(undo: () => void): void {
    this.#undoing.push(undo);
  }

  async undo(): Promise<void> {
    const channel = await this.#connecting?.catch(() => undefined);
    await channel?.[Symbol.asyncDispose]();
    await this.#machine?.finish('kill').catch(() => undefined); // The sweep tries again.
    for (const undo of this.#undoing) undo();
  }

  /** Says why it failed: what the caller did, the deadline, the machine's end, or the error as it is. */
  async explain(cause: unknown, late: AbortSignal, signal: AbortSignal | undefined): Promise<unknown> {
    const { console, timeoutMs, what } = this.#request;
    if (signal?.aborted) return cancelled(what, signal);
    const failed = (why: string) => {
      const lines = console.lastLines(12);
      return new AlcoveError('VmFailed', `${what} failed: ${why}${lines && `\n${lines}`}`, { cause });
    };
    if (cause instanceof EndedMeanwhile) return failed(cause.message);
    if (toldAsTheyAre.some((code) => isAlcoveError(cause, code))) return cause;
    // Whatever was asked of a QEMU that died failed first; why it died is the better answer.
    if (this.#machine?.qmp.isOpen === false && !late.aborted) return failed(await this.#machine.ended);
    await this.#machine?.readConsole().catch(() => undefined); // QEMU may be gone; then there is no more to read.
    if (late.aborted) return failed(`its guest did not answer within ${timeoutMs} ms`);
    return failed(cause instanceof Error ? cause.message : String(cause));
  }
}
