import { AlcoveError, cancelled, isAlcoveError } from '../errors.ts';
import { SingleFlight } from '../host/index.ts';
import { type CallOptions, flightOptions } from '../vm/index.ts';
import { backUp } from './back-up.ts';
import type { BackupInfo } from './backup/backup-info.ts';
import type { BackupStore } from './backup/backup-store.ts';
import type { SessionsContext } from './context.ts';
import type { AcquireOptions, Lease } from './lease.ts';
import { LeaseHandle } from './lease-handle.ts';
import { archiveLimits } from './machine.ts';
import { maintain } from './maintenance.ts';
import type { MaintenanceReport } from './maintenance-report.ts';
import { makeReady, type Readiness } from './ready.ts';
import { removeMachine } from './remove-machine.ts';
import { restoreSession } from './restore.ts';
import type { SessionDetails, SessionInfo } from './session.ts';
import { checkSessionId } from './session-id.ts';
import { newInfo, sessionInfo } from './session-info.ts';
import type { SessionMetrics } from './session-metrics.ts';
import type { StopMode } from './session-options.ts';
import type { SessionRecord } from './session-records.ts';
import type { Sessions } from './sessions.ts';
import { stopMachine } from './stop-machine.ts';
import { type Turn, Turns } from './turns.ts';

/** {@link Sessions} of one state directory. Closing lets go of the machines, which run on. */
export class SessionPool implements Sessions {
  readonly #context: SessionsContext;
  readonly #abort: AbortController;
  readonly #leases = new Map<string, Set<Lease>>();
  readonly #readying = new SingleFlight<Readiness>();
  /** Sessions that are being made ready from nothing or from a backup, and since when. */
  readonly #making = new Map<string, number>();
  readonly #backingUp = new SingleFlight<BackupInfo>();
  readonly #maintaining = new SingleFlight<MaintenanceReport>();
  /** What the pool itself has under way, and must end before the machines are let go of. */
  readonly #underWay = new Set<Promise<unknown>>();
  /** One backup after the other: each has a machine of its own, beside the places. */
  readonly #backupTurns: Turns;
  #cancelTimer: (() => void) | undefined;

  /** Use `openSessions`. @param abort closes what `context.closing` is about */
  constructor(context: SessionsContext, abort: AbortController) {
    this.#context = context;
    this.#abort = abort;
    this.#backupTurns = new Turns(context.clock);
    if (context.options.enabled) this.#scheduleMaintenance();
  }

  async acquire(sessionId: string, options: AcquireOptions = {}): Promise<Lease> {
    const id = this.#check(sessionId);
    const { mode = 'exclusive', waitMs, onQueued, ...call } = options;
    const { clock, turns } = this.#context;
    const beganMs = clock.monotonic();
    return this.#track(call, async (own) => {
      const turn = await turns.take(id, mode, { signal: own.signal, waitMs, onQueued });
      const leftMs = waitMs === undefined ? 0 : Math.max(0, waitMs - (clock.monotonic() - beganMs));
      return this.#lease(id, mode, turn, { ...own, waitMs: leftMs });
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
      try {
        return await this.#lease(id, mode, turn, own);
      } catch (error) {
        if (isAlcoveError(error, 'AtCapacity') && error.details?.limit === 'sessions') return undefined;
        throw error;
      }
    });
  }

  async list(): Promise<SessionInfo[]> {
    const known = await Promise.all(this.#context.records.all().map((record) => this.#info(record)));
    const isKnown = new Set(known.map(({ id }) => id));
    const making = [...this.#making]
      .filter(([id]) => !isKnown.has(id))
      .map(([id, sinceMs]) => newInfo(this.#context, id, sinceMs));
    return [...known, ...making].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  async inspect(sessionId: string): Promise<SessionDetails> {
    const record = this.#find(checkSessionId(sessionId));
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
      await stopMachine(this.#context, this.#find(id), { ...own, ...(mode && { mode }) });
    });
  }

  async terminate(
    sessionId: string,
    options: CallOptions & { backups?: 'keep' | 'remove' } = {},
  ): Promise<void> {
    const { backups = 'keep', ...call } = options;
    const id = this.#check(sessionId);
    await this.#alone(id, call, async () => {
      const record = this.#find(id);
      const { store, records } = this.#context;
      if (backups === 'remove')
        for (const { name } of (await store?.list({ sessionId: id })) ?? []) await store?.remove(name);
      await removeMachine(this.#context, { ...record, newestBackup: undefined });
      records.delete(id);
    });
  }

  async backup(sessionId: string, options: CallOptions = {}): Promise<BackupInfo> {
    const id = this.#check(sessionId);
    const store = this.#store();
    const record = this.#find(id);
    if (record.phase === 'here') return this.#backUp(id, options);
    const backup = record.newestBackup === undefined ? undefined : await store.find(record.newestBackup);
    if (backup && record.phase === 'removed') return backup;
    throw new AlcoveError('SessionNotFound', `session ${id} has no machine to back up`, {
      details: { sessionId: id },
    });
  }

  async restore(sessionId: string, options: CallOptions & { from?: string } = {}): Promise<SessionInfo> {
    const { from, ...call } = options;
    const id = this.#check(sessionId);
    const store = this.#store();
    const { clock, metrics } = this.#context;
    const beganMs = clock.monotonic();
    return this.#alone(id, call, async (own) => {
      await restoreSession(this.#context, store, id, { ...own, ...(from !== undefined && { from }) });
      metrics.took('restore', clock.monotonic() - beganMs);
      return this.#info(this.#find(id));
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
    let leases = 0;
    for (const { size } of this.#leases.values()) leases += size;
    const sessions = await this.list();
    return {
      active: sessions.filter(({ status }) => status === 'active').length,
      places: { max: places.max, taken: places.taken },
      waiting: { turn: turns.allWaiting, place: places.waiting },
      leases,
      counts: { ...metrics.counts },
      latencies: metrics.latencies(),
    };
  }

  readonly backups: Sessions['backups'] = {
    list: async (options) => (await this.#context.store?.list(options)) ?? [],
    verify: async (name, options) => {
      const { info } = await this.#store().verify(name, archiveLimits(this.#context), options);
      if (info) return info;
      throw new AlcoveError('BackupNotFound', `${name} is not a backup of a session`, { details: { name } });
    },
    remove: async (name) => {
      const store = this.#store();
      const user = this.#context.records
        .all()
        .find((record) => record.phase !== 'here' && record.newestBackup === name);
      if (user) {
        throw new AlcoveError('BackupInUse', `backup ${name} is all that is left of session ${user.id}`, {
          details: { name, sessionId: user.id },
        });
      }
      await store.remove(name);
    },
  };

  /** A backup that the pool makes by itself. */
  async backUpByItself(sessionId: string): Promise<void> {
    await this.#backUp(sessionId, { signal: this.#context.closing });
  }

  /** Ends what the pool has under way; leases are over, their machines run on. */
  async close(): Promise<void> {
    this.#cancelTimer?.();
    this.#abort.abort(new Error('the engine closes'));
    const leases = [...this.#leases.values()].flatMap((held) => [...held]);
    await Promise.allSettled(leases.map((lease) => lease.release()));
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
  }

  async #lease(
    id: string,
    mode: Lease['mode'],
    turn: Turn,
    options: CallOptions & { waitMs?: number },
  ): Promise<Lease> {
    const leases = this.#leases;
    const { clock, metrics, runtime, records, idle, places, warn, options: poolOptions } = this.#context;
    const beganMs = clock.monotonic();
    try {
      const { vmId, was } = await this.#ready(id, options);
      const held = leases.get(id) ?? new Set();
      leases.set(id, held);
      const lease = new LeaseHandle({
        runtime,
        sessionId: id,
        vmId,
        mode,
        options: poolOptions,
        giveBack: () => {
          held.delete(lease);
          if (held.size === 0) leases.delete(id);
          idle.start(id);
          try {
            records.touch(id, clock.now());
          } catch (error) {
            warn(`when session ${id} was used could not be recorded: ${(error as Error).message}`);
          } finally {
            turn.release();
            places.reconsider();
          }
        },
      });
      held.add(lease);
      metrics.counts.acquires++;
      metrics.took(was, clock.monotonic() - beganMs);
      return lease;
    } catch (error) {
      if (isAlcoveError(error, 'AtCapacity')) metrics.counts.atCapacity++;
      turn.release();
      throw error;
    }
  }

  /** Callers with shared leases wake a session once. */
  #ready(id: string, { waitMs, signal, onProgress }: CallOptions & { waitMs?: number }): Promise<Readiness> {
    const call = { ...(signal && { signal }), ...(onProgress && { onProgress }) };
    return this.#readying.run(id, flightOptions(call), async (flight) => {
      const isThere = this.#context.records.find(id)?.phase === 'here';
      if (!isThere) this.#making.set(id, this.#context.clock.now());
      try {
        return await makeReady(this.#context, id, {
          signal: flight.signal,
          onProgress: flight.report,
          ...(waitMs !== undefined && { waitMs }),
        });
      } finally {
        this.#making.delete(id);
      }
    });
  }

  /** Callers that want a backup of the same session get the same one, if it has not begun too early for them. */
  #backUp(id: string, { signal, onProgress }: CallOptions): Promise<BackupInfo> {
    return this.#track({ ...(signal && { signal }), ...(onProgress && { onProgress }) }, (own) =>
      this.#backingUp.run(id, flightOptions(own), async (flight) => {
        flight.report('waiting for another backup');
        using _turn = await this.#backupTurns.take('backup', 'exclusive', { signal: flight.signal });
        try {
          const call = { signal: flight.signal, onProgress: flight.report };
          return await backUp(this.#context, this.#store(), this.#find(id), call);
        } finally {
          this.#context.places.reconsider();
        }
      }),
    );
  }

  /** Work on a session that nobody has; nobody gets it meanwhile. */
  #alone<T>(id: string, call: CallOptions, work: (own: Own) => Promise<T>): Promise<T> {
    return this.#track(call, async (own) => {
      using turn = this.#context.turns.tryTake(id, 'exclusive');
      if (!turn) throw this.#context.turns.busy(id);
      try {
        return await work(own);
      } finally {
        this.#context.places.reconsider();
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
    const leases = this.#leases.get(record.id)?.size ?? 0;
    return sessionInfo(this.#context, record, { leases, isBeingMade: this.#making.has(record.id) });
  }

  #check(sessionId: string): string {
    this.#requireEnabled();
    return checkSessionId(sessionId);
  }

  #requireEnabled(): void {
    if (this.#context.options.enabled) return;
    throw new AlcoveError('SessionsDisabled', 'VM pool is disabled; no persistent environments available');
  }

  #find(id: string): SessionRecord {
    const record = this.#context.records.find(id);
    if (record) return record;
    throw new AlcoveError('SessionNotFound', `there is no session ${id}`, { details: { sessionId: id } });
  }

  #store(): BackupStore {
    const { store } = this.#context;
    if (store) return store;
    throw new AlcoveError('InvalidInput', 'there is no place for backups', {
      remedy: 'Set `backup_destination` in the section `[sessions]` of the configuration.',
      details: { field: 'sessions.backup_destination' },
    });
  }
}

type Own = CallOptions & { signal: AbortSignal };
