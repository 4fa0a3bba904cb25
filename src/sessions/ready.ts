import { AlcoveError } from '../errors.ts';
import { type CallOptions, generateId } from '../vm/index.ts';
import type { BackupInfo } from './backup/backup-info.ts';
import type { SessionsContext } from './context.ts';
import { archiveLimits, destroyMachine, machineOf, makeMachine, startMachine } from './machine.ts';
import type { SessionRecord } from './session-records.ts';

export interface ReadyOptions extends CallOptions {
  /** How long to wait for a place, in ms. */
  waitMs?: number;
}

/** What a session was before it was made ready, as latencies are named by it. */
export type Readiness = {
  vmId: string;
  was: 'acquireActive' | 'acquireStopped' | 'acquireNew' | 'acquireRestored';
};

/**
 * Gets a session's machine running: as it is, started again, from the newest backup, or made new. The caller has a turn of it.
 *
 * @throws AlcoveError as `Sessions.acquire`
 */
export async function makeReady(
  context: SessionsContext,
  sessionId: string,
  options: ReadyOptions,
): Promise<Readiness> {
  const record = context.records.find(sessionId);
  if (record?.phase === 'lost') throw lost(sessionId);
  if (record?.phase === 'here' && record.vmId !== undefined)
    return wake(context, record, record.vmId, options);
  const backup = await backupToStartFrom(context, sessionId, record);
  const vmId = await inNewPlace(context, options, async (id) => {
    const archive = backup && (await context.store?.verify(backup.name, archiveLimits(context), options));
    const bootstrap = await makeMachine(
      context,
      { sessionId, vmId: id, ...(archive && { archive }) },
      options,
    );
    const machine = { vmId: id, newestBackup: backup?.name, bootstrap };
    context.records.setMachine(sessionId, machine, context.clock.now());
  });
  await context.at('make.recorded');
  context.stopped.forget(sessionId);
  context.metrics.counts[backup ? 'restored' : 'made']++;
  return { vmId, was: backup ? 'acquireRestored' : 'acquireNew' };
}

/** Makes a machine in a place of its own. When that fails, nothing is left of either. Returns the machine's id. */
export async function inNewPlace(
  context: SessionsContext,
  { signal, waitMs, onProgress }: ReadyOptions,
  make: (vmId: string) => Promise<void>,
): Promise<string> {
  const vmId = generateId('session', context.random);
  await context.places.take(vmId, {
    signal,
    waitMs,
    onWait: () => onProgress?.('waiting for a place in the pool'),
  });
  try {
    await make(vmId);
    return vmId;
  } catch (error) {
    await destroyMachine(context, vmId);
    throw error;
  }
}

/** What was used must be backed up again: that is written down before the machine runs. */
async function wake(
  context: SessionsContext,
  { id }: SessionRecord,
  vmId: string,
  call: CallOptions,
): Promise<Readiness> {
  const machine = await machineOf(context, vmId);
  if (!machine) {
    context.records.change(id, () => ({ phase: 'lost', vmId: undefined }));
    context.places.release(vmId);
    throw lost(id);
  }
  if (machine.status === 'running') return { vmId, was: 'acquireActive' };
  if (machine.status === 'paused') {
    await context.runtime.resume(vmId, call);
    return { vmId, was: 'acquireActive' };
  }
  context.records.change(id, ({ wakes }) => ({ wakes: wakes + 1 }));
  await context.at('wake.recorded');
  await startMachine(context, vmId, call);
  await context.at('wake.started');
  context.stopped.forget(id);
  context.metrics.counts.resumes++;
  return { vmId, was: 'acquireStopped' };
}

/**
 * Where a session without a machine goes on from. What a row says to be there has to be there: a destination that is empty because it is
 * not mounted must not make an empty session.
 */
async function backupToStartFrom(
  { store }: SessionsContext,
  sessionId: string,
  record: SessionRecord | undefined,
): Promise<BackupInfo | undefined> {
  const name = record?.newestBackup;
  if (name === undefined) return (await store?.list({ sessionId }))?.[0];
  const backup = await store?.find(name);
  if (backup) return backup;
  throw new AlcoveError(
    'BackupNotFound',
    `session ${sessionId} goes on from its backup ${name}, which is not there`,
    {
      remedy: 'Bring the backup destination back, or give it another backup with `alcove session restore`.',
      details: { sessionId, name, destination: store?.destination },
    },
  );
}

function lost(sessionId: string): AlcoveError<'SessionLost'> {
  return new AlcoveError(
    'SessionLost',
    `the machine of session ${sessionId} is gone, and nobody removed it`,
    {
      details: { sessionId },
    },
  );
}
