import type { SessionsContext } from './context.ts';
import { machineOf } from './machine.ts';
import { isDirty } from './remove-machine.ts';
import type { SessionInfo, SessionStatus } from './session.ts';
import type { SessionRecord } from './session-records.ts';

export interface InUse {
  leases: number;
  isBeingMade: boolean;
}

/** A session's row as it is listed. */
export async function sessionInfo(
  context: SessionsContext,
  record: SessionRecord,
  { leases, isBeingMade }: InUse,
): Promise<SessionInfo> {
  const { id, createdAtMs, usedAtMs, newestBackup, failedBackup } = record;
  const machine = await machineOf(context, record.vmId);
  const runs = machine?.status === 'running' || machine?.status === 'paused';
  const isClean = record.phase === 'removed' || (machine !== undefined && !isDirty(record, runs));
  return {
    id,
    status: statusOf(record, { isThere: machine !== undefined, runs, isBeingMade }),
    ...(machine && { vmId: machine.id }),
    createdAtMs,
    usedAtMs,
    ...(machine && !runs && { stoppedAtMs: machine.changedAtMs }),
    ...(machine?.reason !== undefined && { reason: machine.reason }),
    leases,
    waiting: context.turns.waiting(id),
    state: isClean ? 'backed up' : 'not backed up',
    ...(newestBackup !== undefined && { newestBackup }),
    ...(failedBackup && { failedBackup }),
  };
}

function statusOf(
  { phase }: SessionRecord,
  { isThere, runs, isBeingMade }: { isThere: boolean; runs: boolean; isBeingMade: boolean },
): SessionStatus {
  if (phase === 'removed') return isBeingMade ? 'making' : 'removed';
  if (phase === 'lost' || !isThere) return 'lost';
  return runs ? 'active' : 'stopped';
}

/** Of a session that is being made for the first time: it has no row before it is there. */
export function newInfo({ turns }: SessionsContext, id: string, sinceMs: number): SessionInfo {
  return {
    id,
    status: 'making',
    createdAtMs: sinceMs,
    usedAtMs: sinceMs,
    leases: 0,
    waiting: turns.waiting(id),
    state: 'not backed up',
  };
}
