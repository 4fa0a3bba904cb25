import { isRetryDue } from './back-up.ts';
import type { SessionsContext } from './context.ts';
import { machineOf } from './machine.ts';
import type { BackUpSession } from './maintenance.ts';
import { isDirty, removeIfStopped } from './remove-machine.ts';
import type { SessionRecord } from './session-records.ts';
import { stopIfIdle } from './stop-machine.ts';

/**
 * Removes the machine of the session that has been stopped longest and may go, so that another has its place; where none is stopped and it is
 * so configured, the one that has been idle longest is stopped first. Says whether there was one.
 */
export async function makeRoom(context: SessionsContext, backUp: BackUpSession): Promise<boolean> {
  const { stopped, idle, options } = context;
  const here = await machinesOfSessions(context);
  const longestFirst = (ages: typeof stopped, since: (found: Found) => number) => (a: Found, b: Found) =>
    ages.ms(b.record.id, since(b)) - ages.ms(a.record.id, since(a));
  const candidates = here
    .filter(({ status }) => status === 'stopped')
    .sort(longestFirst(stopped, ({ changedAtMs }) => changedAtMs));
  if (options.stopIdleForRoom === 'yes') {
    const running = here.filter(({ status }) => status === 'running');
    candidates.push(...running.sort(longestFirst(idle, ({ record }) => record.usedAtMs)));
  }
  for (const { record } of candidates) {
    if (context.closing.aborted) return false;
    if (await evict(context, record.id, backUp)) return true;
  }
  return false;
}

/** One that cannot go now is passed over; why is in its row, or is told as a warning. */
async function evict(context: SessionsContext, sessionId: string, backUp: BackUpSession): Promise<boolean> {
  if (context.turns.isTaken(sessionId)) return false;
  try {
    if (context.options.stopIdleForRoom === 'yes') await stopIfIdle(context, sessionId, 0);
    const record = context.records.find(sessionId);
    if (!record) return false;
    if (context.store && isDirty(record, false)) {
      if (!isRetryDue(context, record) || context.turns.isTaken(sessionId)) return false;
      await backUp(sessionId);
    }
    if (!(await removeIfStopped(context, sessionId))) return false;
    context.metrics.counts.evictions++;
    return true;
  } catch (error) {
    if (!context.closing.aborted)
      context.warn(`session ${sessionId} could not make room: ${(error as Error).message}`);
    return false;
  }
}

interface Found {
  record: SessionRecord;
  status: string;
  changedAtMs: number;
}

/** The sessions that nobody has, and their machines. */
async function machinesOfSessions(context: SessionsContext): Promise<Found[]> {
  const found: Found[] = [];
  for (const record of context.records.all()) {
    if (record.phase !== 'here' || context.turns.isTaken(record.id)) continue;
    const machine = await machineOf(context, record.vmId);
    if (machine) found.push({ record, status: machine.status, changedAtMs: machine.changedAtMs });
  }
  return found;
}
