import { isRetryDue } from './back-up.ts';
import type { SessionsContext } from './context.ts';
import { machineOf } from './machine.ts';
import type { MaintenanceReport } from './maintenance-report.ts';
import { isDirty, removeIfStopped } from './remove-machine.ts';
import { stopIfIdle } from './stop-machine.ts';

/** Backs up a session; calls for one session join. */
export type BackUpSession = (sessionId: string) => Promise<unknown>;

/**
 * One round: stops what is idle, then backs up and removes what is due. Each session is looked at anew, under its own turn; what fails of
 * one holds up no other.
 */
export async function maintain(context: SessionsContext, backUp: BackUpSession): Promise<MaintenanceReport> {
  const report: MaintenanceReport = { stopped: [], backedUp: [], pruned: [], failed: [] };
  const each = async (
    what: MaintenanceReport['failed'][number]['what'],
    done: string[],
    work: (sessionId: string) => Promise<boolean>,
  ) => {
    for (const { id, phase } of context.records.all()) {
      if (context.closing.aborted) return;
      if (phase !== 'here') continue;
      try {
        if (await work(id)) done.push(id);
      } catch (error) {
        if (!context.closing.aborted)
          report.failed.push({ sessionId: id, what, message: (error as Error).message });
      }
    }
  };
  await each('stop', report.stopped, (id) => stopIfIdle(context, id, context.options.idleShutdownMs));
  await each('backup', report.backedUp, (id) => backUpIfDue(context, id, backUp));
  await each('prune', report.pruned, (id) => pruneIfDue(context, id));
  return report;
}

/** Before its machine is removed at the latest. */
async function backUpIfDue(
  context: SessionsContext,
  sessionId: string,
  backUp: BackUpSession,
): Promise<boolean> {
  if (!context.store) return false;
  const { backupAfterMs = Number.POSITIVE_INFINITY, pruneAfterMs } = context.options;
  const record = context.records.find(sessionId);
  if (!record || !isDirty(record, false) || !isRetryDue(context, record)) return false;
  const stoppedMs = await stoppedFor(context, sessionId);
  if (stoppedMs === undefined || stoppedMs < Math.min(backupAfterMs, pruneAfterMs)) return false;
  await backUp(sessionId);
  return true;
}

async function pruneIfDue(context: SessionsContext, sessionId: string): Promise<boolean> {
  const stoppedMs = await stoppedFor(context, sessionId);
  if (stoppedMs === undefined || stoppedMs < context.options.pruneAfterMs) return false;
  if (!(await removeIfStopped(context, sessionId))) return false;
  context.metrics.counts.prunes++;
  return true;
}

/** How long a session that nobody has is stopped, in ms. */
async function stoppedFor(context: SessionsContext, sessionId: string): Promise<number | undefined> {
  if (context.turns.isTaken(sessionId)) return undefined;
  const machine = await machineOf(context, context.records.find(sessionId)?.vmId);
  return machine?.status === 'stopped' ? context.stopped.ms(sessionId, machine.changedAtMs) : undefined;
}
