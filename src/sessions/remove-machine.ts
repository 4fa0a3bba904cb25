import type { SessionsContext } from './context.ts';
import { destroyMachine, machineOf } from './machine.ts';
import type { SessionRecord } from './session-records.ts';

/** Whether there is something that the session's newest backup does not have. */
export function isDirty({ wakes, backedUpWakes }: SessionRecord, isRunning: boolean): boolean {
  return isRunning || wakes !== backedUpWakes;
}

/** Removes the machine of a session that is stopped and, where there is a place for backups, backed up. Says whether it did. */
export async function removeIfStopped(context: SessionsContext, sessionId: string): Promise<boolean> {
  using turn = context.turns.tryTake(sessionId, 'exclusive');
  if (!turn) return false;
  const record = context.records.find(sessionId);
  if (record?.phase !== 'here') return false;
  const machine = await machineOf(context, record.vmId);
  if (machine?.status !== 'stopped') return false;
  if (context.store && !(await isBackedUp(context, record))) return false;
  await removeMachine(context, record);
  return true;
}

/** Removes a session's machine; the caller has its only turn. From then on it is its newest backup, or nothing. */
export async function removeMachine(context: SessionsContext, record: SessionRecord): Promise<void> {
  const { id, vmId, newestBackup } = record;
  if (newestBackup === undefined) context.records.delete(id);
  else context.records.put({ ...record, phase: 'removed', vmId: undefined, bootstrap: undefined });
  await context.at('remove.recorded');
  context.idle.forget(id);
  context.stopped.forget(id);
  if (vmId === undefined) return;
  await destroyMachine(context, vmId);
  await context.at('remove.done');
}

/** A backup that somebody took away is none. */
async function isBackedUp(context: SessionsContext, record: SessionRecord): Promise<boolean> {
  if (isDirty(record, false) || record.newestBackup === undefined) return false;
  if (await context.store?.find(record.newestBackup)) {
    const now = context.records.find(record.id);
    return now?.newestBackup === record.newestBackup && !isDirty(now, false);
  }
  context.records.change(record.id, () => ({ backedUpWakes: undefined }));
  return false;
}
