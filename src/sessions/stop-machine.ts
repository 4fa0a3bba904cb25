import type { CallOptions } from '../vm/index.ts';
import type { SessionsContext } from './context.ts';
import { machineOf } from './machine.ts';
import type { StopMode } from './session-options.ts';
import type { SessionRecord } from './session-records.ts';

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
  const signal = context.closing;
  const guest = await context.runtime.guest(record.vmId, { signal });
  const detached = await guest.listDetached({ signal });
  if (detached.some(({ exit }) => exit === undefined)) {
    context.idle.start(sessionId); // It is used as long as one of them runs.
    return false;
  }
  return await stopMachine(context, record, { signal }); // Within the turn, which ends with this function.
}
