import { resolve } from 'node:path';
import { AlcoveError } from '../errors.ts';
import type { CallOptions } from '../vm/index.ts';
import type { BackupStore, VerifiedArchive } from './backup/backup-store.ts';
import { verifyArchive } from './backup/verify-archive.ts';
import type { SessionsContext } from './context.ts';
import { storeOf } from './context.ts';
import { archiveLimits, destroyMachine, makeMachine } from './machine.ts';
import { inNewPlace } from './ready.ts';

/**
 * Gives a session the workdir of a backup, in a new machine that takes the place of the old one when it is whole. The caller has its only
 * turn.
 */
export async function restoreSession(
  context: SessionsContext,
  sessionId: string,
  options: CallOptions & { from?: string },
): Promise<void> {
  const { from, ...call } = options;
  call.onProgress?.('verifying the backup');
  const archive = await verified(context, sessionId, from, call);
  await inNewPlace(context, call, async (id) => {
    const bootstrap = await makeMachine(context, { sessionId, vmId: id, archive }, call);
    await context.at('restore.made');
    const before = context.records.find(sessionId);
    const own = archive.info?.sessionId === sessionId ? archive.info.name : undefined;
    const machine = { vmId: id, newestBackup: before?.newestBackup ?? own, bootstrap };
    context.records.setMachine(sessionId, machine, context.clock.now());
    await context.at('restore.recorded');
    if (before?.vmId !== undefined) await destroyMachine(context, before.vmId);
  });
  context.idle.start(sessionId);
  context.stopped.forget(sessionId);
  context.metrics.counts.restored++;
}

/** A file from elsewhere needs no place for backups. */
async function verified(
  context: SessionsContext,
  sessionId: string,
  from: string | undefined,
  call: CallOptions,
): Promise<VerifiedArchive> {
  const limits = archiveLimits(context);
  if (!context.store && from?.includes('/')) return verifyArchive({ path: resolve(from) }, limits, call);
  const store = storeOf(context);
  return store.verify(from ?? (await newest(context, store, sessionId)), limits, call);
}

async function newest({ records }: SessionsContext, store: BackupStore, sessionId: string): Promise<string> {
  const known = records.find(sessionId)?.newestBackup;
  if (known !== undefined) return known;
  const [latest] = await store.list({ sessionId });
  if (latest) return latest.name;
  throw new AlcoveError('BackupNotFound', `there is no backup of session ${sessionId}`, {
    details: { sessionId },
  });
}
