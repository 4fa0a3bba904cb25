import type { BackupInfo } from './backup/backup-info.ts';

/**
 * Where a session stands: `making` its machine is being made or brought back; `active` it runs; `stopped` its machine does not run,
 * its disk (and its memory, as configured) is kept; `removed` only its backups are left, and the next use starts from the newest;
 * `lost` its machine is gone and nobody removed it: it is used again only after a restore.
 */
export type SessionStatus = 'making' | 'active' | 'stopped' | 'removed' | 'lost';

export interface SessionInfo {
  /** A UUID in lower case, or any `[a-z0-9][a-z0-9-]{0,62}`. */
  id: string;
  status: SessionStatus;
  /** Absent of one that is removed or lost. */
  vmId?: string;
  createdAtMs: number;
  /** When its last lease was given back, or it was made. */
  usedAtMs: number;
  stoppedAtMs?: number;
  /** Why it is stopped, when nobody asked for it. */
  reason?: string;
  leases: number;
  /** Callers that wait for a lease. */
  waiting: number;
  /** Whether there is anything that its newest backup does not have. A running one may change at any time. */
  state: 'backed up' | 'not backed up';
  /** The newest backup that this pool made or started from. */
  newestBackup?: string;
  /** Since the last one that was made. While it is there, the machine is not removed. */
  failedBackup?: FailedBackup;
}

export interface FailedBackup {
  attempts: number;
  message: string;
  atMs: number;
  /** Before that it is not tried again by itself. */
  nextAttemptAtMs: number;
}

export interface SessionDetails extends SessionInfo {
  /** What the bootstrap command of its machine printed; head and tail. */
  bootstrap?: BootstrapRecord;
  /** Newest first. */
  backups: BackupInfo[];
  /** Why they could not be listed. */
  backupsUnreadable?: string;
}

export interface BootstrapRecord {
  command: readonly string[];
  stdout: string;
  stderr: string;
  durationMs: number;
  endedAtMs: number;
}
