import { AlcoveError, isAlcoveError } from '../errors.ts';
import { packageVersion } from '../host/index.ts';
import { type CallOptions, generateId, type SnapshotRef, type VmInfo } from '../vm/index.ts';
import type { BackupInfo } from './backup/backup-info.ts';
import type { BackupStore } from './backup/backup-store.ts';
import { backupLabel, type SessionsContext } from './context.ts';
import { machineOf, signalOf } from './machine.ts';
import { workdir } from './session-options.ts';
import type { SessionRecord } from './session-records.ts';

/** A backup that failed is tried again after so long, in ms; each time twice as long, up to an hour. */
const firstRetryMs = 60_000;
const longestRetryMs = 3_600_000;

/**
 * Backs up a session that has a machine, as it is at one instant: a snapshot of its disk, which a second machine reads. So neither waits
 * for the other.
 *
 * @throws AlcoveError `BackupFailed`, `Cancelled`, and what a VM throws
 */
export async function backUp(
  context: SessionsContext,
  store: BackupStore,
  record: SessionRecord,
  call: CallOptions,
): Promise<BackupInfo> {
  const beganMs = context.clock.monotonic();
  try {
    const made = await makeBackup(context, store, record, call);
    context.metrics.counts.backupsMade++;
    context.metrics.took('backup', context.clock.monotonic() - beganMs);
    return made;
  } catch (error) {
    if (isAlcoveError(error, 'Cancelled')) throw error;
    context.metrics.counts.backupsFailed++;
    recordFailure(context, record.id, error as Error);
    throw error;
  }
}

/** Whether a backup may be tried now by itself. */
export function isRetryDue(context: SessionsContext, { failedBackup }: SessionRecord): boolean {
  if (!failedBackup) return true;
  const now = context.clock.now();
  // A clock that was set back does not make it wait longer than it should.
  return now >= failedBackup.nextAttemptAtMs || now < failedBackup.atMs;
}

async function makeBackup(
  context: SessionsContext,
  store: BackupStore,
  { id }: SessionRecord,
  call: CallOptions,
): Promise<BackupInfo> {
  call.onProgress?.('taking a snapshot');
  const { ref, machine, endOfWakes } = await snapshotOf(context, id, call);
  try {
    await context.at('backup.snapshotted');
    const backup = await inReader(context, id, ref, call, async (reader) => {
      const guest = await context.runtime.guest(reader, call);
      const { diskUsedBytes } = await guest.usage(signalOf(call));
      await context.at('backup.reading');
      return store.write(
        {
          sessionId: id,
          tar: guest.files.tarOut(workdir, signalOf(call)),
          usedBytes: diskUsedBytes,
          facts: {
            workdir,
            image: machine.image,
            versions: { alcove: packageVersion(), agent: guest.hello.agentVersion },
          },
        },
        call,
      );
    });
    await context.at('backup.written');
    // Another machine, made by a restore meanwhile, is not what was backed up.
    context.records.change(id, ({ vmId }) =>
      vmId === machine.id
        ? {
            newestBackup: backup.name,
            failedBackup: undefined,
            // Of a machine that ran nobody knows what it did since.
            ...(endOfWakes !== undefined && { backedUpWakes: endOfWakes }),
          }
        : {},
    );
    await context.at('backup.recorded');
    await forgetOld(context, store, id);
    return backup;
  } finally {
    await removeSnapshot(context, ref);
  }
}

/**
 * A snapshot of its disk, and which of its lives it has the end of. That is known only with the session's turn: a machine that is being
 * woken is stopped still, and counts as its next life already.
 */
async function snapshotOf(
  context: SessionsContext,
  sessionId: string,
  call: CallOptions,
): Promise<{ ref: SnapshotRef; machine: VmInfo; endOfWakes: number | undefined }> {
  using turn = context.turns.tryTake(sessionId, 'exclusive');
  const record = context.records.find(sessionId);
  const machine = await machineOf(context, record?.vmId);
  if (!record || !machine) {
    throw new AlcoveError('SessionNotFound', `session ${sessionId} has no machine any more`, {
      details: { sessionId },
    });
  }
  const { ref } = await context.runtime.snapshot(machine.id, {
    ...call,
    memory: 'exclude',
    durability: 'process', // Syncing 2 GB that a guest has just written takes longer than reading them.
    labels: { [backupLabel]: sessionId },
  });
  const isEnd = turn !== undefined && machine.status === 'stopped';
  return { ref, machine, endOfWakes: isEnd ? record.wakes : undefined };
}

/** Runs `work` with a machine that has the snapshot's disk and none of its processes. */
async function inReader<T>(
  context: SessionsContext,
  sessionId: string,
  ref: SnapshotRef,
  call: CallOptions,
  work: (vmId: string) => Promise<T>,
): Promise<T> {
  const { runtime } = context;
  const vmId = generateId('backup', context.random);
  try {
    const labels = { [backupLabel]: sessionId };
    await runtime.restore(ref, { id: vmId, memory: 'exclude', labels }, call);
    await runtime.start(vmId, call);
    call.onProgress?.('backing up');
    return await work(vmId);
  } finally {
    await runtime.destroy(vmId).catch((error: unknown) => {
      if (!isAlcoveError(error, 'VmNotFound'))
        context.warn(`could not destroy VM ${vmId}, which read a backup: ${(error as Error).message}`);
    });
  }
}

/** It is in the way of nothing: one that will not go now goes when the next engine opens. */
async function removeSnapshot({ runtime, warn }: SessionsContext, ref: SnapshotRef): Promise<void> {
  try {
    await runtime.snapshots.release(ref);
  } catch (error) {
    if (!isAlcoveError(error, 'SnapshotNotFound'))
      warn(`could not remove snapshot ${ref}, which a backup was read from: ${(error as Error).message}`);
  }
}

/**
 * The backup is made: that an older one would not go does not change it. What the session needs stays, also when it looks like the oldest
 * because the clock was set back before it was made.
 */
async function forgetOld(context: SessionsContext, store: BackupStore, sessionId: string): Promise<void> {
  try {
    const needed = context.records.find(sessionId)?.newestBackup;
    const others = (await store.list({ sessionId })).filter(({ name }) => name !== needed);
    const keep = context.options.backupKeep - (needed === undefined ? 0 : 1);
    for (const { name } of others.slice(keep)) await store.remove(name);
  } catch (error) {
    context.warn(`could not remove old backups of session ${sessionId}: ${(error as Error).message}`);
  }
}

function recordFailure(context: SessionsContext, sessionId: string, error: Error): void {
  const now = context.clock.now();
  context.records.change(sessionId, ({ failedBackup }) => {
    const attempts = (failedBackup?.attempts ?? 0) + 1;
    const waitMs = Math.min(firstRetryMs * 2 ** (attempts - 1), longestRetryMs);
    return {
      failedBackup: { attempts, message: error.message, atMs: now, nextAttemptAtMs: now + waitMs },
    };
  });
}
