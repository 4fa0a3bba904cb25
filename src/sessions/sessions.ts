import type { CallOptions } from '../vm/index.ts';
import type { BackupInfo } from './backup/backup-info.ts';
import type { AcquireOptions, Lease } from './lease.ts';
import type { MaintenanceReport } from './maintenance-report.ts';
import type { SessionDetails, SessionInfo } from './session.ts';
import type { SessionMetrics } from './session-metrics.ts';
import type { StopMode } from './session-options.ts';

/**
 * The pool of sessions: a machine per session id, made on first use, found as it was left by later ones. Every call but the reading ones
 * throws `SessionsDisabled` when it is turned off.
 */
export interface Sessions {
  /**
   * A lease of a session, whose machine runs. Leases of one session are granted in the order of asking.
   *
   * @throws AlcoveError `AtCapacity`, `SessionBusy` when `waitMs` is over, `SessionLost`, `BootstrapFailed`, `BackupInvalid`,
   * `BackupNotFound`, `Cancelled`, `InvalidInput`, and what making and starting a VM throws
   */
  acquire(sessionId: string, options?: AcquireOptions): Promise<Lease>;
  /** As {@link acquire}, but `undefined` where it would have to wait for others. */
  tryAcquire(
    sessionId: string,
    options?: Omit<AcquireOptions, 'waitMs' | 'onQueued'>,
  ): Promise<Lease | undefined>;
  /** Sorted by id. */
  list(): Promise<SessionInfo[]>;
  /** @throws AlcoveError `SessionNotFound` */
  inspect(sessionId: string): Promise<SessionDetails>;
  /**
   * Stops its machine; one that is stopped stays so.
   *
   * @param options.mode @default as configured
   * @throws AlcoveError `SessionNotFound`, `SessionBusy` while it is leased
   */
  stop(sessionId: string, options?: CallOptions & { mode?: StopMode }): Promise<void>;
  /**
   * Ends a session: its machine is removed, backed up or not.
   *
   * @param options.backups whether they stay; the next use of the id starts from the newest then @default 'keep'
   * @throws AlcoveError `SessionNotFound`, `SessionBusy` while it is leased
   */
  terminate(sessionId: string, options?: CallOptions & { backups?: 'keep' | 'remove' }): Promise<void>;
  /**
   * Backs up its workdir as it is at one instant, also while it is in use. Of a removed one, its newest backup is the answer.
   *
   * @throws AlcoveError `SessionNotFound`, `BackupFailed`, `InvalidInput` without a destination
   */
  backup(sessionId: string, options?: CallOptions): Promise<BackupInfo>;
  /**
   * Gives a session, or a new one, the workdir of a backup, in a new machine. Nothing is replaced before all of it is verified and in
   * place.
   *
   * @param options.from a backup's name, or the path of a `.tar.zst` on the host (it has a `/` in it) @default its newest backup
   * @throws AlcoveError `BackupNotFound`, `BackupInvalid`, `SessionBusy`, `AtCapacity` (it takes a place beside the old machine), `HostFile`
   */
  restore(sessionId: string, options?: CallOptions & { from?: string }): Promise<SessionInfo>;
  /** Stops what is idle, backs up and removes what is due, as a timer does every `maintenanceIntervalMs`. */
  runMaintenanceNow(options?: CallOptions): Promise<MaintenanceReport>;
  /** Counts and latencies since the engine opened. */
  metrics(): Promise<SessionMetrics>;
  readonly backups: {
    /** Newest first. */
    list(options?: { sessionId?: string }): Promise<BackupInfo[]>;
    /** Reads all of it and compares it with its manifest. @throws AlcoveError `BackupNotFound`, `BackupInvalid` */
    verify(name: string, options?: CallOptions): Promise<BackupInfo>;
    /** @throws AlcoveError `BackupNotFound`, `BackupInUse` when it is all that is left of a session */
    remove(name: string): Promise<void>;
  };
}
