import { AlcoveError, cancelled, isAlcoveError } from '../errors.ts';
import { SingleFlight } from '../host/index.ts';
import type { CallOptions } from '../vm/index.ts';
import type { BackupInfo } from './backup/backup-info.ts';
import { BackupsUnderWay } from './backups-under-way.ts';
import { type SessionsContext, storeOf } from './context.ts';
import type { AcquireOptions, Lease } from './lease.ts';
import { Leases } from './leases.ts';
import { archiveLimits } from './machine.ts';
import { maintain } from './maintenance.ts';
import type { MaintenanceReport } from './maintenance-report.ts';
import { removeMachine } from './remove-machine.ts';
import { restoreSession } from './restore.ts';
import type { SessionDetails, SessionInfo } from './session.ts';
import { checkSessionId } from './session-id.ts';
import { newInfo, sessionInfo } from './session-info.ts';
import type { SessionMetrics } from './session-metrics.ts';
import type { StopMode } from './session-options.ts';
import { findSession, type SessionRecord } from './session-records.ts';
import type { Sessions } from './sessions.ts';
import { stopMachine } from './stop-machine.ts';

/** How long the pool's own work on a session is waited for, in ms. */
const ownWorkMs = 10_000;

/** {@link Sessions} of one state directory. Closing lets go of the machines, which run on. */
export class SessionPool implements Sessions {
  readonly #context: SessionsContext;
  readonly #abort: AbortController;
  readonly #leases: Leases;
  readonly #backups: BackupsUnderWay;
  readonly #maintaining = new SingleFlight<MaintenanceReport>();
  /** What the pool itself has under way, and must end before the machines are let go of. */
  readonly #underWay = new Set<Promise<unknown>>();
  #cancelTimer: (() => void) | undefined;

  /** Use `openSessions`. @param abort closes what `context.closing` is about */
  constructor(context: SessionsContext, abort: AbortController) {
    this.#context = context;
    this.#abort = abort;
    this.#leases = new Leases(context);
    this.#backups = new BackupsUnderWay(context);
    if (context.options.enabled) this.#scheduleMaintenance();
  }

  async acquire(sessionId: string, options: AcquireOptions = {}): Promise<Lease> {
    const id = this.#check(sessionId);
    const { mode = 'exclusive', waitMs, onQueued, ...call } = options;
    const { clock, turns } = this.#context;
    const beganMs = clock.monotonic();
    return this.#track(call, async (own) => {
      const turn = await turns.take(id, mode, { signal: own.signal, waitMs, onQueued });
      const untilMs = waitMs === undefined ? undefined : beganMs + waitMs;
      return this.#leases.grant(id, mode, turn, { ...own, untilMs });
    });
  }

  async tryAcquire(
    sessionId: string,
    options: Omit<AcquireOptions, 'waitMs' | 'onQueued'> = {},
  ): Promise<Lease | undefined> {
    const id = this.#check(sessionId);
    const { mode = 'exclusive', ...call } = options;
    return this.#track(call, async (own) => {
      const turn = this.#context.turns.tryTake(id, mode);
      if (!turn) return undefined;
      if (this.#leases.isReadying(id)) {
        turn.release();
        return undefined;
      }
      try {
        return await this.#leases.grant(id, mode, turn, { ...own, untilMs: undefined });
      } catch (error) {
        if (isAlcoveError(error, 'AtCapacity') && error.details?.limit === 'sessions') return undefined;
        throw error;
      }
    });
  }

  async list(): Promise<SessionInfo[]> {
    const known = await Promise.all(this.#context.records.all().map((record) => this.#info(record)));
    const isKnown = new Set(known.map(({ id }) => id));
    const making = [...this.#leases.making]
      .filter(([id]) => !isKnown.has(id))
      .map(([id, sinceMs]) => newInfo(this.#context, id, sinceMs));
    return [...known, ...making].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  async inspect(sessionId: string): Promise<SessionDetails> {
    const record = findSession(this.#context.records, checkSessionId(sessionId));
    const info = await this.#info(record);
    const bootstrap = record.bootstrap && { bootstrap: record.bootstrap };
    try {
      return { ...info, ...bootstrap, backups: await this.backups.list({ sessionId: info.id }) };
    } catch (error) {
      return { ...info, ...bootstrap, backups: [], backupsUnreadable: (error as Error).message };
    }
  }

  async stop(sessionId: string, options: CallOptions & { mode?: StopMode } = {}): Promise<void> {
    const { mode, ...call } = options;
    const id = this.#check(sessionId);
    await this.#alone(id, call, async (own) => {
      await stopMachine(this.#context, findSession(this.#context.records, id), {
        ...own,
        ...(mode && { mode }),
      });
    });
  }

  async terminate(
    sessionId: string,
    options: CallOptions & { backups?: 'keep' | 'remove' } = {},
  ): Promise<void> {
    const { backups = 'keep', ...call } = options;
    const id = this.#check(sessionId);
    await this.#alone(id, call, async () => {
      findSession(this.#context.records, id);
      const { store, records } = this.#context;
      await this.#backups.whileEnding(id, async () => {
        if (backups === 'remove')
          for (const { name } of (await store?.list({ sessionId: id })) ?? []) await store?.remove(name);
        await removeMachine(this.#context, { ...findSession(records, id), newestBackup: undefined });
        records.delete(id);
      });
    });
  }

  async backup(sessionId: string, options: CallOptions = {}): Promise<BackupInfo> {
    const id = this.#check(sessionId);
    const store = storeOf(this.#context);
    const record = findSession(this.#context.records, id);
    if (record.phase === 'here') return this.#track(options, (own) => this.#backups.make(id, own));
    const backup = record.newestBackup === undefined ? undefined : await store.find(record.newestBackup);
    if (backup && record.phase === 'removed') return backup;
    throw new AlcoveError('SessionNotFound', `session ${id} has no machine to back up`, {
      details: { sessionId: id },
    });
  }

  async restore(sessionId: string, options: CallOptions & { from?: string } = {}): Promise<SessionInfo> {
    const { from, ...call } = options;
    const id = this.#check(sessionId);
    const { clock, metrics } = this.#context;
    const beganMs = clock.monotonic();
    return this.#alone(id, call, async (own) => {
      await restoreSession(this.#context, id, { ...own, ...(from !== undefined && { from }) });
      metrics.took('restore', clock.monotonic() - beganMs);
      return this.#info(findSession(this.#context.records, id));
    });
  }

  async runMaintenanceNow(options: CallOptions = {}): Promise<MaintenanceReport> {
    this.#requireEnabled();
    return this.#track(options, ({ signal }) =>
      this.#maintaining.run('maintenance', { signal }, async () => {
        try {
          return await maintain(this.#context, (id) => this.backUpByItself(id));
        } finally {
          this.#context.places.reconsider();
        }
      }),
    );
  }

  async metrics(): Promise<SessionMetrics> {
    const { places, turns, metrics } = this.#context;
    const sessions = await this.list();
    return {
      active: sessions.filter(({ status }) => status === 'active').length,
      places: { max: places.max, taken: places.taken },
      waiting: { turn: turns.allWaiting, place: places.waiting },
      leases: this.#leases.count(),
      counts: { ...metrics.counts },
      latencies: metrics.latencies(),
    };
  }

  readonly backups: Sessions['backups'] = {
    list: async (options) => (await this.#context.store?.list(options)) ?? [],
    verify: async (name, options) => {
      const { info } = await storeOf(this.#context).verify(name, archiveLimits(this.#context), options);
      if (info) return info;
      throw new AlcoveError('BackupNotFound', `${name} is not a backup of a session`, { details: { name } });
    },
    remove: async (name) => {
      const store = storeOf(this.#context);
      const user = this.#context.records.all().find(({ newestBackup }) => newestBackup === name);
      if (user && user.phase !== 'here') {
        throw new AlcoveError('BackupInUse', `backup ${name} is all that is left of session ${user.id}`, {
          details: { name, sessionId: user.id },
        });
      }
      // First: from then on it makes nothing clean, and its session's machine does not go.
      if (user)
        this.#context.records.change(user.id, () => ({ backedUpWakes: undefined, newestBackup: undefined }));
      await store.remove(name);
    },
  };

  /** A backup that the pool makes by itself. */
  async backUpByItself(sessionId: string): Promise<void> {
    await this.#track({}, (own) => this.#backups.make(sessionId, own));
  }

  /** Ends what the pool has under way; leases are over, their machines run on. */
  async close(): Promise<void> {
    this.#cancelTimer?.();
    this.#abort.abort(new Error('the engine closes'));
    await this.#leases.releaseAll();
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
    await this.#context.places.settled();
  }

  /** Work on a session that nobody has; nobody gets it meanwhile. */
  #alone<T>(id: string, call: CallOptions, work: (own: Own) => Promise<T>): Promise<T> {
    return this.#track(call, async (own) => {
      const { places, turns } = this.#context;
      const isUsed = this.#leases.count(id) > 0 || this.#leases.isReadying(id);
      // Else it is the pool that has it, for a stop or a snapshot.
      const turn = await turns.take(id, 'exclusive', { signal: own.signal, waitMs: isUsed ? 0 : ownWorkMs });
      try {
        return await work(own);
      } finally {
        turn.release(); // First: what somebody has makes no room.
        places.reconsider();
      }
    });
  }

  /** Work that ends when the caller gives up or the pool closes, and that the close waits for. */
  async #track<T>(call: CallOptions, work: (own: Own) => Promise<T>): Promise<T> {
    const { closing } = this.#context;
    if (closing.aborted) throw cancelled('work on a session', closing);
    const signal = call.signal ? AbortSignal.any([call.signal, closing]) : closing;
    const done = work({ ...call, signal });
    this.#underWay.add(done);
    try {
      return await done;
    } finally {
      this.#underWay.delete(done);
    }
  }

  #scheduleMaintenance(): void {
    const { clock, options, warn, closing } = this.#context;
    this.#cancelTimer = clock.timer(options.maintenanceIntervalMs, () => {
      this.runMaintenanceNow()
        .then(
          ({ failed }) => {
            for (const { sessionId, what, message } of failed)
              warn(`session ${sessionId}, ${what}: ${message}`);
          },
          (error: unknown) => {
            if (!closing.aborted) warn(`maintenance of the sessions failed: ${(error as Error).message}`);
          },
        )
        .finally(() => {
          if (!closing.aborted) this.#scheduleMaintenance();
        });
    });
  }

  #info(record: SessionRecord): Promise<SessionInfo> {
    const leases = this.#leases.count(record.id);
    return sessionInfo(this.#context, record, { leases, isBeingMade: this.#leases.making.has(record.id) });
  }

  #check(sessionId: string): string {
    this.#requireEnabled();
    return checkSessionId(sessionId);
  }

  #requireEnabled(): void {
    if (this.#context.options.enabled) return;
    throw new AlcoveError('SessionsDisabled', 'VM pool is disabled; no persistent environments available');
  }
}

type Own = CallOptions & { signal: AbortSignal };
