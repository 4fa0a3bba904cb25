import type { CallOptions } from '../vm/index.ts';
import type { SessionsContext } from './context.ts';
import { machineOf } from './machine.ts';
import type { StopMode } from './session-options.ts';
import type { SessionRecord } from './session-records.ts';

/** How long a guest has to say what runs in it, in ms; it takes one or two. */
const answerMs = 10_000;

/** Stops a session's machine; the caller has its only turn. Says whether it ran. */
export async function stopMachine(
  context: SessionsContext,
  { id, vmId }: SessionRecord,
  options: CallOptions & { mode?: StopMode } = {},
): Promise<boolean> {
  const { mode = context.options.stopMode, ...call } = options;
  const machine = await machineOf(context, vmId);
  if (!machine || (machine.status !== 'running' && machine.status !== 'paused')) return false;
  const beganMs = context.clock.monotonic();
  await context.at('stop.begun');
  await context.runtime.stop(machine.id, { ...call, ...(mode === 'suspend' && { memory: true }) });
  await context.at('stop.done');
  context.stopped.start(id);
  context.metrics.counts.stops++;
  context.metrics.took('stop', context.clock.monotonic() - beganMs);
  return true;
}

/** Stops a session that nobody uses. Says whether it did. */
export async function stopIfIdle(
  context: SessionsContext,
  sessionId: string,
  idleMs: number,
): Promise<boolean> {
  using turn = context.turns.tryTake(sessionId, 'exclusive');
  if (!turn) return false;
  const record = context.records.find(sessionId);
  if (record?.phase !== 'here' || record.vmId === undefined) return false;
  const machine = await machineOf(context, record.vmId);
  if (machine?.status !== 'running') return false;
  if (context.idle.ms(sessionId, record.usedAtMs) < idleMs) return false;
  if (await runsDetached(context, record.vmId)) {
    context.idle.start(sessionId); // It is used as long as one of them runs.
    return false;
  }
  return await stopMachine(context, record, { signal: context.closing }); // Within the turn, which ends with this function.
}

/** A guest that does not say holds up neither the session's next lease nor the round of maintenance. */
async function runsDetached({ clock, closing, runtime }: SessionsContext, vmId: string): Promise<boolean> {
  const late = new AbortController();
  const cancelTimer = clock.timer(answerMs, () => late.abort(new Error('the guest does not answer')));
  const signal = AbortSignal.any([closing, late.signal]);
  try {
    const guest = await runtime.guest(vmId, { signal });
    return (await guest.listDetached({ signal })).some(({ exit }) => exit === undefined);
  } finally {
    cancelTimer();
  }
}
