import { AlcoveError, isAlcoveError } from '../errors.ts';
import type { ExecRequest, GuestChannel, GuestProcess } from '../guest/index.ts';
import type { BackendCallOptions } from './backend.ts';
import { settledRecord } from './change-status.ts';
import { type Run, vmDied } from './run.ts';
import { attach, type RuntimeContext } from './runtime-context.ts';
import { vmNotFound } from './transitions.ts';
import type { VmRecord } from './vm-records.ts';
import { endOrTimeout, watchProcess } from './watch-process.ts';

interface Reached {
  record: VmRecord;
  run: Run;
  guest: GuestChannel;
}

/**
 * The guest of a running VM, once the calls on the VM that came before have ended.
 *
 * @throws AlcoveError `VmNotFound`, `GuestUnreachable` when it does not run, `Cancelled`
 */
export async function reachGuest(
  context: RuntimeContext,
  id: string,
  options: BackendCallOptions,
): Promise<Reached> {
  return context.lanes.run(
    id,
    `reaching VM ${id}`,
    async () => {
      const record = await settledRecord(context, id);
      if (!record) throw vmNotFound(id);
      if (record.status !== 'running') throw notRunning(record);
      const { machine, vm } = await attach(context, record);
      return { record, run: machine.run, guest: await vm.guest(options) };
    },
    options.signal,
  );
}

/**
 * Starts a command with the environment, user and directory of image, VM and request, in rising order of precedence.
 *
 * @param lifetime ends the command, for as long as it runs; `options.signal` ends only the waiting for its start
 */
export async function spawnCommand(
  context: RuntimeContext,
  id: string,
  request: ExecRequest,
  options: BackendCallOptions,
  lifetime: AbortSignal | undefined,
): Promise<GuestProcess> {
  const { reached, leftMs } = await withinDeadline(context, id, request.timeoutMs, options);
  const { record, run, guest } = reached;
  const whole = { ...withDefaults(record, request), ...(leftMs !== undefined && { timeoutMs: leftMs }) };
  return onRun(context, id, run, () => guest.exec(whole, { ...(lifetime && { signal: lifetime }) }));
}

export async function attachCommand(
  context: RuntimeContext,
  id: string,
  commandId: string,
  options: BackendCallOptions,
  lifetime: AbortSignal | undefined,
): Promise<GuestProcess> {
  const { run, guest } = await reachGuest(context, id, options);
  return onRun(context, id, run, () => guest.attach(commandId, { ...(lifetime && { signal: lifetime }) }));
}

/** The last part of a VM's console, also of one that no longer runs. */
export async function readConsole(context: RuntimeContext, id: string): Promise<string> {
  return context.lanes.run(
    id,
    `reading the console of VM ${id}`,
    async () => {
      const record = await settledRecord(context, id);
      if (!record) throw vmNotFound(id);
      if (record.status === 'destroyed') return '';
      const { vm } = await attach(context, record);
      return vm.console();
    },
    undefined,
  );
}

/** Reaches the guest in what a command may take: its deadline covers waiting for its turn, too. */
async function withinDeadline(
  context: RuntimeContext,
  id: string,
  timeoutMs: number | undefined,
  options: BackendCallOptions,
): Promise<{ reached: Reached; leftMs: number | undefined }> {
  if (timeoutMs === undefined) return { reached: await reachGuest(context, id, options), leftMs: undefined };
  const { clock } = context;
  const beganMs = clock.monotonic();
  const waiting = new AbortController();
  const onAbort = () => waiting.abort(options.signal?.reason);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  if (options.signal?.aborted) onAbort();
  const cancelTimer = clock.timer(timeoutMs, () => waiting.abort());
  try {
    const reached = await reachGuest(context, id, { ...options, signal: waiting.signal });
    return { reached, leftMs: Math.max(1, Math.ceil(timeoutMs - (clock.monotonic() - beganMs))) };
  } catch (error) {
    if (!isAlcoveError(error, 'Cancelled') || options.signal?.aborted) throw error;
    throw new AlcoveError('CommandTimedOut', `VM ${id} was busy for the ${timeoutMs} ms the command had`, {
      details: { timeoutMs },
      cause: error,
    });
  } finally {
    cancelTimer();
    options.signal?.removeEventListener('abort', onAbort);
  }
}

function withDefaults(record: VmRecord, request: ExecRequest): ExecRequest {
  const { imageConfig, env } = record;
  const user = request.user ?? (imageConfig.user || undefined);
  const cwd = request.cwd ?? (imageConfig.workdir || undefined);
  return {
    ...request,
    env: { ...imageConfig.env, ...env, ...request.env },
    ...(user !== undefined && { user }),
    ...(cwd !== undefined && { cwd }),
  };
}

async function onRun(
  context: RuntimeContext,
  id: string,
  run: Run,
  begin: () => Promise<GuestProcess>,
): Promise<GuestProcess> {
  try {
    return watchProcess(await begin(), id, run, context.clock);
  } catch (error) {
    if (isAlcoveError(error, 'GuestUnreachable')) await endOrTimeout(run, context.clock);
    throw run.reason === undefined ? error : vmDied(id, run.reason);
  }
}

function notRunning(record: VmRecord): AlcoveError<'GuestUnreachable'> {
  const { id, status, reason } = record;
  return new AlcoveError(
    'GuestUnreachable',
    `VM ${id} is ${status}${reason ? ` (${reason})` : ''}, not running`,
    {
      remedy: status === 'paused' ? 'Resume it first.' : 'Start it first.',
      details: { vmId: id, status },
    },
  );
}
