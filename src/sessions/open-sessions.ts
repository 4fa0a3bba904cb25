import { type Clock, systemClock } from '../host/index.ts';
import type { ImageStore } from '../images/index.ts';
import type { Database } from '../store/index.ts';
import type { Random, VmRuntime } from '../vm/index.ts';
import { Ages } from './ages.ts';
import type { BackupStore } from './backup/backup-store.ts';
import { openBackupStore } from './backup/open-backup-store.ts';
import type { SessionsContext } from './context.ts';
import type { SessionFailpoint } from './failpoints.ts';
import { makeRoom } from './make-room.ts';
import { Metrics } from './metrics.ts';
import { Places } from './places.ts';
import { reconcile } from './reconcile.ts';
import type { SessionOptions } from './session-options.ts';
import { SessionPool } from './session-pool.ts';
import { SessionRecords } from './session-records.ts';
import { Turns } from './turns.ts';

export interface OpenSessionsOptions {
  runtime: VmRuntime;
  images: Pick<ImageStore, 'resolve'>;
  database: Database;
  options: SessionOptions;
  /** Of this state directory, 1 to 32 of `a-z0-9`: among engines that share a backup destination no other has it. */
  owner: string;
  /** @default the directory `options.backupDestination`; none where that is not set */
  store?: BackupStore;
  random: Random;
  /** @default the system's */
  clock?: Clock;
  warn?: (message: string) => void;
  failpoint?: SessionFailpoint;
}

/**
 * Opens the pool of a state directory, and mends what an engine that died left.
 *
 * @throws AlcoveError `StateUnusable`, `StateCorrupt`
 */
export async function openSessions(
  given: OpenSessionsOptions,
): Promise<{ sessions: SessionPool; mended: string[] }> {
  const { runtime, images, database, options, owner, random, failpoint } = given;
  const { clock = systemClock, warn = () => undefined } = given;
  const { backupDestination: destination } = options;
  const ownStore = () =>
    destination === undefined ? undefined : openBackupStore({ destination, owner, clock, random, warn });
  const abort = new AbortController();
  const context: SessionsContext = {
    runtime,
    images,
    options,
    records: new SessionRecords(database),
    store: given.store ?? ownStore(),
    turns: new Turns(clock),
    places: new Places(options.maxVms, clock, () => makeRoom(context, (id) => pool.backUpByItself(id))),
    idle: new Ages(clock),
    stopped: new Ages(clock),
    metrics: new Metrics(),
    clock,
    random,
    closing: abort.signal,
    warn,
    at: async (name) => failpoint?.(name),
  };
  const mended = await reconcile(context);
  const pool = new SessionPool(context, abort);
  return { sessions: pool, mended };
}
