import { AlcoveError } from '../errors.ts';
import type { Clock } from '../host/index.ts';
import type { ImageStore } from '../images/index.ts';
import type { Random, VmRuntime } from '../vm/index.ts';
import type { Ages } from './ages.ts';
import type { BackupStore } from './backup/backup-store.ts';
import type { SessionFailpointName } from './failpoints.ts';
import type { Metrics } from './metrics.ts';
import type { Places } from './places.ts';
import type { SessionOptions } from './session-options.ts';
import type { SessionRecords } from './session-records.ts';
import type { Turns } from './turns.ts';

/** What the parts of one pool share. */
export interface SessionsContext {
  readonly runtime: VmRuntime;
  readonly images: Pick<ImageStore, 'resolve'>;
  readonly options: SessionOptions;
  readonly records: SessionRecords;
  /** Where backups go; none where none is configured. */
  readonly store: BackupStore | undefined;
  readonly turns: Turns;
  readonly places: Places;
  /** Since when sessions are not used, and since when they are stopped. */
  readonly idle: Ages;
  readonly stopped: Ages;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly random: Random;
  /** Fires when the pool closes. */
  readonly closing: AbortSignal;
  /** Told what could not be reported to a caller, in words for people. */
  readonly warn: (message: string) => void;
  readonly at: (name: SessionFailpointName) => Promise<void>;
}

/** On what a backup reads from, a machine and a snapshot: the session's id. They are removed when they are found at open. */
export const backupLabel = 'alcove.backup';

/** The place for backups. @throws AlcoveError `InvalidInput` where none is configured */
export function storeOf({ store }: Pick<SessionsContext, 'store'>): BackupStore {
  if (store) return store;
  throw new AlcoveError('InvalidInput', 'there is no place for backups', {
    remedy: 'Set `backup_destination` in the section `[sessions]` of the configuration.',
    details: { field: 'sessions.backup_destination' },
  });
}
