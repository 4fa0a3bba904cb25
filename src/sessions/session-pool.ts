import { AlcoveError, cancelled, isAlcoveError } from '../errors.ts';
import { SingleFlight } from '../host/index.ts';
import { type CallOptions, flightOptions } from '../vm/index.ts';
import { backUp } from './back-up.ts';
import type { BackupInfo } from './backup/backup-info.ts';
import type { BackupStore } from './backup/backup-store.ts';
import { noDestination, type SessionsContext } from './context.ts';
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
  /** Callers with shared leases make a session ready one after the other; all but the first find it so. */
  readonly #readying: Turns;
  /** Sessions that are being made ready from nothing or from a backup, and since when. */
  readonly #making = new Map<string, number>();
  readonly #backingUp = new SingleFlight<BackupInfo>();
  readonly #maintaining = new SingleFlight<MaintenanceReport>();
  /** How many backups of a session have begun to look at it. */
  readonly #backupsBegun = new Map<string, number>();
  /** Sessions that are being ended. */
  readonly #ending = new Set<string>();
  #runningBackup: RunningBackup | undefined;
  /** What the pool itself has under way, and must end before the machines are let go of. */
  readonly #underWay = new Set<Promise<unknown>>();
  /** One backup after the other: each has a machine of its own, beside the places. */
  readonly #backupTurns: Turns;
  #swept: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;

  /** Use `openSessions`. @param abort closes what `context.closing` is about */
  constructor(context: SessionsContext, abort: AbortController) {
    this.#context = context;
    this.#abort = abort;
    this.#readying = new Turns(context.clock);
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
      const untilMs = waitMs === undefined ? undefined : beganMs + waitMs;
      return this.#lease(id, mode, turn, { ...own, untilMs });
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
      if (this.#readying.isTaken(id)) {
        turn.release();
        return undefined;
      }
      try {
        return await this.#lease(id, mode, turn, { ...own, untilMs: undefined });
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
      this.#find(id);
      const { store, records } = this.#context;
      this.#ending.add(id);
      try {
        await this.#endBackup(id);
        if (backups === 'remove')
          for (const { name } of (await store?.list({ sessionId: id })) ?? []) await store?.remove(name);
        await removeMachine(this.#context, { ...this.#find(id), newestBackup: undefined });
        records.delete(id);
      } finally {
        this.#ending.delete(id);
      }
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
    const { clock, metrics } = this.#context;
    const beganMs = clock.monotonic();
    return this.#alone(id, call, async (own) => {
      await restoreSession(this.#context, id, { ...own, ...(from !== undefined && { from }) });
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
    await this.#backUp(sessionId, { signal: this.#context.closing });
  }

  /** Ends what the pool has under way; leases are over, their machines run on. */
  async close(): Promise<void> {
    this.#cancelTimer?.();
    this.#abort.abort(new Error('the engine closes'));
    const leases = [...this.#leases.values()].flatMap((held) => [...held]);
    await Promise.allSettled(leases.map((lease) => lease.release()));
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
    await this.#context.places.settled();
  }

  async #lease(id: string, mode: Lease['mode'], turn: Turn, options: Own & Patience): Promise<Lease> {
    const leases = this.#leases;
    const { clock, metrics, runtime, places, options: poolOptions } = this.#context;
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
          this.#used(id);
          turn.release();
          places.reconsider();
        },
      });
      held.add(lease);
      this.#used(id); // Should the engine die, it is not taken for idle since its last lease.
      metrics.counts.acquires++;
      metrics.took(was, clock.monotonic() - beganMs);
      return lease;
    } catch (error) {
      if (isAlcoveError(error, 'AtCapacity')) metrics.counts.atCapacity++;
      turn.release();
      places.reconsider();
      throw error;
    }
  }

  /** As patient as its caller is, also where another one of the session is at it. */
  async #ready(id: string, { untilMs, ...call }: Own & Patience): Promise<Readiness> {
    const { clock, records } = this.#context;
    const leftMs = () => (untilMs === undefined ? undefined : Math.max(0, untilMs - clock.monotonic()));
    using _turn = await this.#readying.take(id, 'exclusive', { signal: call.signal, waitMs: leftMs() });
    if (records.find(id)?.phase !== 'here') this.#making.set(id, clock.now());
    try {
      return await makeReady(this.#context, id, { ...call, waitMs: leftMs() ?? 0 });
    } finally {
      this.#making.delete(id);
    }
  }

  /** Callers that want a backup of the same session get the same one, if it has not begun too early for them. */
  #backUp(id: string, { signal, onProgress }: CallOptions): Promise<BackupInfo> {
    const number = (this.#backupsBegun.get(id) ?? 0) + 1;
    return this.#track({ ...(signal && { signal }), ...(onProgress && { onProgress }) }, (own) =>
      this.#backingUp.run(`backup ${number} of session ${id}`, flightOptions(own), async (flight) => {
        flight.report('waiting for another backup');
        using _turn = await this.#backupTurns.take('backup', 'exclusive', { signal: flight.signal });
        // Who asks from now on wants what is done until then, too.
        this.#backupsBegun.set(id, number);
        const store = this.#store();
        try {
          this.#swept ??= this.#sweep(store); // Not at open: a destination that hangs is nobody's concern yet.
          await this.#swept;
          return await this.#runBackup(id, store, { signal: flight.signal, onProgress: flight.report });
        } finally {
          this.#context.places.reconsider();
        }
      }),
    );
  }

  /** What is left there is in nobody's way; whether backups can be made is for them to say. */
  async #sweep(store: BackupStore): Promise<void> {
    try {
      await store.sweep();
    } catch (error) {
      this.#swept = undefined;
      this.#context.warn(`could not remove half-made backups: ${(error as Error).message}`);
    }
  }

  async #runBackup(id: string, store: BackupStore, { signal, ...call }: Own): Promise<BackupInfo> {
    const record = this.#find(id);
    if (this.#ending.has(id)) throw this.#context.turns.busy(id);
    const abort = new AbortController();
    const own = { ...call, signal: AbortSignal.any([signal, abort.signal]) };
    const done = backUp(this.#context, store, record, own);
    this.#runningBackup = { sessionId: id, abort, done };
    try {
      return await done;
    } finally {
      this.#runningBackup = undefined;
    }
  }

  /** No backup of a session that ends comes after its end. */
  async #endBackup(id: string): Promise<void> {
    const { sessionId, abort, done } = this.#runningBackup ?? {};
    if (sessionId !== id) return;
    abort?.abort(new Error(`session ${id} was ended`));
    await done?.catch(() => undefined); // Told to who asked for it.
  }

  /** It is used now. That this could not be recorded is no reason to keep a lease. */
  #used(id: string): void {
    const { clock, idle, records, warn } = this.#context;
    idle.start(id);
    try {
      records.touch(id, clock.now());
    } catch (error) {
      warn(`when session ${id} was used could not be recorded: ${(error as Error).message}`);
    }
  }

  /** Work on a session that nobody has; nobody gets it meanwhile. */
  #alone<T>(id: string, call: CallOptions, work: (own: Own) => Promise<T>): Promise<T> {
    return this.#track(call, async (own) => {
      const turn = this.#context.turns.tryTake(id, 'exclusive');
      if (!turn) throw this.#context.turns.busy(id);
      try {
        return await work(own);
      } finally {
        turn.release(); // First: what somebody has makes no room.
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
    throw noDestination();
  }
}

type Own = CallOptions & { signal: AbortSignal };

/** Until when to wait, on the monotonic clock; without, as long as it takes for the session's turn, and for a place not at all. */
interface Patience {
  untilMs: number | undefined;
}

interface RunningBackup {
  sessionId: string;
  abort: AbortController;
  done: Promise<unknown>;
}
