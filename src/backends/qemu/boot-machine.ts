import { randomBytes } from 'node:crypto';
import { AlcoveError, cancelled, isAlcoveError } from '../../errors.ts';
import type { GuestChannel } from '../../guest/index.ts';
import type { Clock } from '../../host/index.ts';
import type { BackendCallOptions, StartRequest } from '../../vm/backend.ts';
import { ConsoleLog } from './console-log.ts';
import type { GuestConnector } from './guest-line.ts';
import { Machine } from './machine.ts';
import { diskSerial, imageSerial, type MachinePlan, userNetwork } from './machine-args.ts';
import type { QemuHost } from './probe-host.ts';
import { assertConfined } from './process-confinement.ts';
import { readRunRecord, writeRunRecord } from './run-record.ts';
import { spawnQemu } from './spawn-qemu.ts';
import { sweep } from './sweep.ts';

export interface BootRequest {
  host: QemuHost;
  plan: MachinePlan;
  start: StartRequest;
  clock: Clock;
  connector: GuestConnector;
  /** From the spawning to the guest that takes commands. */
  timeoutMs: number;
}

export interface BootedMachine {
  machine: Machine;
  channel: GuestChannel;
  console: ConsoleLog;
}

/**
 * Boots a machine until its guest takes commands. The guest executes nothing before QEMU's confinement was looked at. On
 * failure nothing is left but the logs, unless QEMU cannot be killed: then a later sweep has to tell.
 *
 * @throws AlcoveError `VmFailed` with the console's last lines, `Cancelled`, `BackendUnavailable`, `ToolMissing`
 */
export async function bootMachine(
  request: BootRequest,
  options: BackendCallOptions = {},
): Promise<BootedMachine> {
  const { clock, plan, timeoutMs } = request;
  const { signal } = options;
  if (signal?.aborted) throw cancelled(`starting ${plan.places.id}`, signal);
  const late = new AbortController();
  const stopTimer = clock.timer(timeoutMs, () => late.abort(new Error('deadline')));
  const attempt: BootAttempt = {
    console: ConsoleLog.empty(plan.places.consolePath),
    ending: signal ? AbortSignal.any([signal, late.signal]) : late.signal,
    machine: undefined,
    connecting: undefined,
  };
  try {
    return await run(request, attempt, options);
  } catch (cause) {
    const error = await explain(cause, request, attempt, late.signal, signal);
    late.abort();
    const channel = await attempt.connecting?.catch(() => undefined);
    await channel?.[Symbol.asyncDispose]();
    await attempt.machine?.finish('kill').catch(() => undefined); // The sweep tries again.
    await sweep(plan.places, clock).catch(() => undefined); // So does the VM's next call, and tells.
    throw error;
  } finally {
    stopTimer();
  }
}

interface BootAttempt {
  console: ConsoleLog;
  ending: AbortSignal;
  machine: Machine | undefined;
  connecting: Promise<GuestChannel> | undefined;
}

async function run(
  request: BootRequest,
  attempt: BootAttempt,
  options: BackendCallOptions,
): Promise<BootedMachine> {
  const { clock, host, plan } = request;
  const { console, ending } = attempt;
  options.onProgress?.('starting QEMU');
  const spawned = await spawnQemu(host, plan);
  const machine = await Machine.connect({
    process: spawned.identity,
    exit: spawned.exit,
    places: plan.places,
    console,
    clock,
    timeoutMs: request.timeoutMs,
    signal: ending,
  });
  attempt.machine = machine;
  assertConfined(spawned.identity.pid, {
    uid: plan.dropTo,
    root: plan.dropTo === undefined ? undefined : plan.places.jail,
  });
  options.onProgress?.('booting the guest');
  const ended = machine.ended.then((reason) => {
    throw new EndedWhileBooting(reason);
  });
  ended.catch(() => undefined); // Raced below; later ends are the VM's concern.
  attempt.connecting = request.connector({
    socketPath: plan.places.agentSocket,
    line: 'fresh',
    deadlineMs: request.timeoutMs,
    signal: ending,
    clock,
  });
  attempt.connecting.catch(() => undefined); // Raced below.
  await machine.qmp.execute('cont');
  const channel = await Promise.race([attempt.connecting, ended]);
  await Promise.race([setUp(channel, request, ending), ended]);
  const record = readRunRecord(plan.places.runPath);
  if (record) writeRunRecord(plan.places.runPath, { ...record, phase: 'ready' });
  return { machine, channel, console };
}

async function setUp(channel: GuestChannel, request: BootRequest, signal: AbortSignal): Promise<void> {
  const { clock, plan, start } = request;
  const network = start.network ?? { ...userNetwork, dns: [...userNetwork.dns] };
  await channel.setup(
    {
      lowerSerial: imageSerial,
      upperSerial: diskSerial,
      identity: { hostname: start.hostname, machineId: start.machineId },
      unixMs: clock.now(),
      entropy: randomBytes(256),
      ...(plan.shape.network === 'user' && { network }),
    },
    { signal },
  );
}

class EndedWhileBooting extends Error {}

/** Says why a boot failed: what the caller did, the deadline, the machine's end, or the error as it is. */
async function explain(
  cause: unknown,
  request: BootRequest,
  attempt: BootAttempt,
  late: AbortSignal,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  const { id } = request.plan.places;
  if (signal?.aborted) return cancelled(`starting ${id}`, signal);
  const failed = (what: string) => {
    const lines = attempt.console.lastLines(12);
    return new AlcoveError('VmFailed', `${id} did not come up: ${what}${lines && `\n${lines}`}`, { cause });
  };
  if (cause instanceof EndedWhileBooting) return failed(cause.message);
  if (isAlcoveError(cause, 'BackendUnavailable') || isAlcoveError(cause, 'ToolMissing')) return cause;
  // Whatever was asked of a QEMU that died failed first; why it died is the better answer.
  if (attempt.machine?.qmp.isOpen === false && !late.aborted) return failed(await attempt.machine.ended);
  await attempt.machine?.readConsole().catch(() => undefined); // QEMU may be gone; then there is no more to read.
  if (late.aborted) return failed(`its guest did not answer within ${request.timeoutMs} ms`);
  return failed(cause instanceof Error ? cause.message : String(cause));
}
