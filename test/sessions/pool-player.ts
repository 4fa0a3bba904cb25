import { isAlcoveError } from '../../src/errors.ts';
import type { Lease, LeaseMode } from '../../src/sessions/index.ts';
import type { Tell } from './life.ts';
import { type Ask, historyIn, must, numbersIn, PoolModel } from './pool-model.ts';
import type { PoolSetting, PoolStep, TimedStep } from './pool-steps.ts';
import type { PoolSubject } from './pool-subject.ts';
import { hour, minute } from './sessions-fixture.ts';

interface Held {
  lease: Lease;
  mode: LeaseMode;
}

/** Errors that a call may come to, whatever is done at the same time. */
const expected: Readonly<Record<string, readonly string[]>> = {
  acquire: ['AtCapacity', 'SessionBusy', 'Cancelled'],
  stop: ['SessionNotFound', 'SessionBusy', 'Cancelled'],
  backup: [
    'SessionNotFound',
    'SessionBusy',
    'Cancelled',
    'VmNotFound',
    'InvalidTransition',
    'GuestUnreachable',
  ],
  restore: ['BackupNotFound', 'SessionBusy', 'AtCapacity', 'Cancelled'],
  terminate: ['SessionNotFound', 'SessionBusy', 'Cancelled'],
  maintain: ['Cancelled'],
};

/** Plays steps on a pool, tells the model what came of each, and watches what must never be. */
export class PoolPlayer {
  readonly #subject: PoolSubject;
  readonly #setting: PoolSetting;
  readonly #model: PoolModel;
  /** Machines of sessions that exist or are being made. */
  #machines = new Set<string>();
  #held: Held[] = [];
  #pending: { ask: Ask; abort: AbortController }[] = [];
  #stopping = new Set<string>();
  /** Sessions whose backup may be gone although their row names it: an engine died while it ended them. */
  readonly #halfEnded = new Set<string>();
  #commands = new Set<Promise<void>>();
  #calls = new Set<Promise<unknown>>();
  #engine = 0;
  #asks = 0;
  #effects = 0;
  #draining = false;
  #violation: Error | undefined;

  constructor(subject: PoolSubject, setting: PoolSetting) {
    this.#subject = subject;
    this.#setting = setting;
    this.#model = new PoolModel(setting.backups === 'yes' ? 'backups' : 'nothing');
  }

  async play({ turns, ...step }: TimedStep): Promise<void> {
    await this.#begin(step);
    await this.#subject.settle(turns);
    await this.#look();
  }

  /** Brings everything to its end, and looks at every session. */
  async finish(): Promise<void> {
    this.#subject.place.failures.length = 0;
    this.#subject.clearFaults();
    this.#subject.standNowhere();
    if (this.#subject.stands) await this.#crash();
    this.#draining = true;
    for (const { lease } of [...this.#held]) this.#release(lease);
    const ids = this.#model.ids.filter((id) => !this.#halfEnded.has(id));
    await this.#until(
      () => this.#pending.length + this.#commands.size + this.#calls.size === 0,
      () => `forgotten: ${JSON.stringify(this.#pending.map(({ ask }) => ask))}`,
    );
    await this.#look();
    for (const id of ids) {
      await this.#stopInTheEnd(id);
    }
    for (const id of ids) {
      const ended = this.#ended(this.#subject.sessions.acquire(id, { waitMs: 1000 * hour }));
      await this.#until(
        () => ended.isOver,
        () => `${id} cannot be acquired in the end`,
      );
      const lease = await ended.promise;
      this.#model.granted(id, lease.mode, lease.vm.id);
      await this.#read(lease);
      this.#model.released(id, lease.mode);
      await lease.release();
      await this.#stopInTheEnd(id);
    }
    await this.#look();
    const { waiting, leases } = await this.#subject.sessions.metrics();
    must(waiting.turn + waiting.place + leases === 0, 'somebody waits in the end');
  }

  async #stopInTheEnd(id: string): Promise<void> {
    this.#stopping.add(id);
    let isBusy = true; // With work that the pool does by itself.
    for (let round = 0; isBusy; round++) {
      must(round < 200, `${id} is busy in the end`);
      isBusy = await this.#subject.sessions.stop(id).then(
        () => false,
        (error) => {
          if (isAlcoveError(error, 'SessionNotFound')) return false;
          if (isAlcoveError(error, 'SessionBusy')) return true;
          throw error;
        },
      );
      if (isBusy) await this.#subject.settle(20);
    }
    this.#stopping.delete(id);
  }

  async #state(): Promise<string> {
    const { sessions, place } = this.#subject;
    const { places, waiting } = await sessions.metrics();
    return JSON.stringify({ list: await sessions.list(), places, waiting, writes: place.writes.length });
  }

  /** Lets things go on until something is so, and time pass when they do not. */
  async #until(isSo: () => boolean, otherwise: () => string): Promise<void> {
    for (let round = 0; !isSo(); round++) {
      if (this.#violation) throw this.#violation;
      if (round === 10_000) throw new Error(`${otherwise()}: ${await this.#state()}`);
      await this.#subject.settle(20);
      if (round % 10 === 9) await this.#subject.pass(minute);
    }
  }

  /** Hears of every call to the runtime. */
  readonly tell: Tell = (call, [first]) => {
    if (call === 'create') return this.#creates(first as { id: string });
    if (call === 'stop' || call === 'pause') this.#stops(String(first));
    if (call === 'destroy') return this.#destroys(String(first));
    return undefined;
  };

  #creates({ id }: { id: string }) {
    this.#machines.add(id);
    const { maxVms = 0 } = this.#setting.options;
    this.#check(() => must(this.#machines.size <= maxVms, `${this.#machines.size} machines of ${maxVms}`));
    return (outcome: string) => void (outcome === 'failed' && this.#machines.delete(id));
  }

  #stops(vmId: string): void {
    this.#check(() => {
      must(!this.#held.some(({ lease }) => lease.vm.id === vmId), `leased VM ${vmId} was stopped`);
      const [id, session] = this.#model.sessionOfMachine(vmId) ?? [];
      if (!id || !session) return;
      if (this.#stopping.has(id)) session.detachedUntilMs = 0; // As its user wishes.
      must(session.detachedUntilMs <= this.#subject.nowMs(), `${id} was stopped under a detached command`);
    });
  }

  #destroys(vmId: string) {
    this.#check(() => {
      must(!this.#held.some(({ lease }) => lease.vm.id === vmId), `leased VM ${vmId} was removed`);
      const [id, session] = this.#model.sessionOfMachine(vmId) ?? [];
      if (!id || !session || session.replacing > 0 || session.inDoubt) return;
      must(session.detachedUntilMs <= this.#subject.nowMs(), `${id} was removed under a detached command`);
      if (this.#setting.backups === 'no') return;
      const { kept } = this.#subject.place;
      const isKept = kept.some(
        ({ info, tar }) => info.sessionId === id && this.#model.isAllOf(id, historyIn(tar)),
      );
      must(isKept, `${id} was removed and is in no backup`);
    });
    return (outcome: string) => void (outcome === 'done' && this.#machines.delete(vmId));
  }

  async #begin(step: PoolStep): Promise<void> {
    const { sessions, place } = this.#subject;
    switch (step.kind) {
      case 'acquire':
        return this.#acquire(step.session, step.mode, step.waitMs);
      case 'try':
        return this.#try(step.session, step.mode);
      case 'give up':
        return this.#pending[step.index]?.abort.abort();
      case 'release':
        return this.#release(this.#held[step.index]?.lease);
      case 'exec':
        return this.#exec(this.#held[step.index], step.how);
      case 'pass':
        return this.#subject.pass(step.ms);
      case 'set clock':
        return this.#subject.setClock(step.byMs);
      case 'maintain':
        return this.#watch('maintain', sessions.runMaintenanceNow());
      case 'fail backup':
        return void place.failures.push(new Error('planned'));
      case 'fail call':
        return this.#subject.failCall(step.point);
      case 'stand':
        return void this.#subject.standAt(step.at);
      case 'crash':
        return this.#crash();
      case 'reopen':
        return this.#reopen();
      case 'stop':
        return this.#stop(step.session, step.mode);
      case 'backup':
        return this.#backup(step.session);
      case 'restore':
        return this.#restore(step.session, step.index);
      case 'terminate':
        return this.#terminate(step.session, step.backups);
    }
  }

  #acquire(sessionId: string, mode: LeaseMode, waitMs: number | undefined): void {
    const ask: Ask = { order: ++this.#asks, sessionId, mode };
    const abort = new AbortController();
    const entry = { ask, abort };
    this.#pending.push(entry);
    this.#model.asked(ask);
    const lease = this.#subject.sessions.acquire(sessionId, {
      mode,
      signal: abort.signal,
      ...(waitMs !== undefined && { waitMs }),
    });
    this.#watch(
      'acquire',
      lease.finally(() => this.#pending.splice(this.#pending.indexOf(entry), 1)),
      (lease) => this.#granted(lease, ask),
      () => this.#model.answered(ask),
      sessionId,
    );
  }

  #try(sessionId: string, mode: LeaseMode): void {
    this.#watch(
      'acquire',
      this.#subject.sessions.tryAcquire(sessionId, { mode }),
      (lease) => {
        if (lease) this.#granted(lease);
      },
      undefined,
      sessionId,
    );
  }

  #granted(lease: Lease, ask?: Ask): void {
    this.#model.granted(lease.sessionId, lease.mode, lease.vm.id, ask);
    this.#held.push({ lease, mode: lease.mode });
    if (this.#draining) this.#release(lease);
  }

  /** It counts as held until its commands are over: before that nobody else gets the session. */
  #release(lease: Lease | undefined): void {
    const at = this.#held.findIndex((held) => held.lease === lease);
    if (!lease || at < 0) return;
    this.#held.splice(at, 1);
    this.#model.released(lease.sessionId, lease.mode);
    this.#watch('release', lease.release());
  }

  #exec(held: Held | undefined, how: 'short' | 'long' | 'detached' | 'read'): void {
    if (!held) return;
    const { lease } = held;
    if (how === 'read') {
      this.#command(this.#read(lease));
      return;
    }
    const { sessionId } = lease;
    const session = this.#model.of(sessionId);
    const effect = ++this.#effects;
    const engine = this.#engine;
    const write = `echo ${effect} >> history`;
    const { longMs } = this.#subject;
    this.#model.begins(sessionId, effect);
    const over = (is: 'sure' | 'unknown') => {
      if (engine === this.#engine) this.#model.ends(sessionId, effect, is);
    };
    if (how === 'detached') {
      session.detachedUntilMs = this.#subject.nowMs() + longMs;
      const begun = lease.spawn(`${write} && sleep ${longMs / 1000}`, { detachedId: `d${effect}` });
      // When it began its effect is near, but not sure.
      this.#command(
        begun.then(
          () => over('unknown'),
          () => {
            over('unknown');
            session.detachedUntilMs = 0; // It may not have begun.
          },
        ),
      );
      return;
    }
    const command = how === 'long' ? `${write} && sleep ${longMs / 1000}` : write;
    this.#command(
      lease.exec(command).then(
        ({ exitCode, stderr }) => {
          must(exitCode === 0, `a command failed: ${stderr}`);
          over('sure');
        },
        (error) => {
          over('unknown');
          must(isAlcoveError(error, 'Cancelled') || isAlcoveError(error, 'LeaseReleased'), `exec: ${error}`);
        },
      ),
    );
  }

  #command(done: Promise<unknown>): void {
    const engine = this.#engine;
    const watched = done.then(
      () => undefined,
      (error) => {
        if (engine === this.#engine) this.#violation ??= error;
      },
    );
    this.#commands.add(watched);
    void watched.then(() => this.#commands.delete(watched));
  }

  async #read(lease: Lease): Promise<void> {
    try {
      const { stdout } = await lease.exec('cat history');
      this.#model.seen(lease.sessionId, numbersIn(stdout));
      if (!this.#setting.options.bootstrapCommand) return;
      const made = await lease.exec('cat /root/made');
      must(made.stdout === 'made\n', `${lease.sessionId}: bootstrapped ${JSON.stringify(made.stdout)}`);
    } catch (error) {
      if (!isAlcoveError(error, 'Cancelled') && !isAlcoveError(error, 'LeaseReleased')) throw error;
    }
  }

  #stop(sessionId: string, mode: 'suspend' | 'shutdown' | undefined): void {
    this.#stopping.add(sessionId);
    this.#watch(
      'stop',
      this.#subject.sessions
        .stop(sessionId, mode ? { mode } : {})
        .finally(() => this.#stopping.delete(sessionId)),
    );
  }

  #backup(sessionId: string): void {
    if (this.#setting.backups === 'no') return;
    const certain = this.#model.certain(sessionId);
    const { epoch } = this.#model.of(sessionId);
    this.#watch('backup', this.#subject.sessions.backup(sessionId), ({ name }) => {
      const kept = this.#subject.place.find(name);
      if (!kept || epoch !== this.#model.of(sessionId).epoch || this.#model.of(sessionId).replacing > 0)
        return;
      const found = historyIn(kept.tar);
      must(
        certain.every((effect) => found.includes(effect)),
        `${sessionId}: the backup has ${found}, and not all of ${certain}`,
      );
    });
  }

  #restore(sessionId: string, index: number): void {
    const { kept } = this.#subject.place;
    const backup = kept[index % Math.max(1, kept.length)];
    if (!backup || this.#setting.backups === 'no') return;
    const history = historyIn(backup.tar);
    this.#replaces(
      'restore',
      sessionId,
      this.#subject.sessions.restore(sessionId, { from: backup.info.name }),
      () => history,
    );
  }

  #terminate(sessionId: string, backups: 'keep' | 'remove'): void {
    const left = () => historyIn(this.#subject.place.newest(sessionId)?.tar ?? Buffer.alloc(0));
    this.#replaces('terminate', sessionId, this.#subject.sessions.terminate(sessionId, { backups }), left);
  }

  #replaces(
    what: 'restore' | 'terminate',
    sessionId: string,
    done: Promise<unknown>,
    history: () => number[],
  ): void {
    const session = this.#model.of(sessionId);
    const engine = this.#engine;
    session.replacing++;
    this.#ifItDies.set(done, () => {
      this.#model.replaced(sessionId, history(), 'unknown');
      if (what === 'terminate') this.#halfEnded.add(sessionId);
    });
    const over = () => {
      this.#ifItDies.delete(done);
      if (engine === this.#engine) session.replacing--;
    };
    this.#watch(
      what,
      done,
      () => {
        over();
        this.#model.replaced(sessionId, history(), 'sure');
        this.#halfEnded.delete(sessionId);
      },
      over,
    );
  }

  readonly #ifItDies = new Map<Promise<unknown>, () => void>();

  async #crash(): Promise<void> {
    this.#engine++;
    for (const mayBe of this.#ifItDies.values()) mayBe();
    this.#forget();
    this.#model.engineDied();
    await this.#subject.crash();
    await this.#recount();
  }

  async #reopen(): Promise<void> {
    this.#subject.standNowhere();
    if (this.#subject.stands) return this.#crash();
    this.#draining = true;
    await this.#subject.reopen();
    this.#draining = false;
    this.#engine++;
    this.#forget();
    this.#model.engineDied();
    await this.#recount();
  }

  #forget(): void {
    this.#ifItDies.clear();
    this.#held = [];
    this.#pending = [];
    this.#commands = new Set();
    this.#calls = new Set();
    this.#stopping = new Set();
  }

  async #recount(): Promise<void> {
    this.#machines = new Set((await this.#subject.machines()).map(({ id }) => id));
  }

  /** Waits for a call without holding up anybody; what comes of it after its engine died does not count. */
  #watch<T>(
    what: string,
    call: Promise<T>,
    done: (value: T) => void = () => undefined,
    failed: () => void = () => undefined,
    sessionId = '',
  ): void {
    const engine = this.#engine;
    this.#calls.add(call);
    const over = () => void this.#calls.delete(call);
    call.then(over, over);
    call.then(
      (value) => {
        if (engine === this.#engine) this.#check(() => done(value));
      },
      (error: unknown) => {
        if (engine !== this.#engine) return;
        this.#check(() => {
          failed();
          const isKnown = isAlcoveError(error) && expected[what]?.includes(error.code);
          const isPlanned = error instanceof Error && error.message === 'planned';
          const isLeft = isAlcoveError(error, 'BackupNotFound') && this.#halfEnded.has(sessionId);
          must(isKnown || isPlanned || isLeft, `${what}: ${error}`);
        });
      },
    );
  }

  #check(holds: () => void): void {
    try {
      holds();
    } catch (error) {
      this.#violation ??= error as Error;
    }
  }

  #ended<T>(promise: Promise<T>): { promise: Promise<T>; isOver: boolean } {
    const ended = { promise, isOver: false };
    const over = () => {
      ended.isOver = true;
    };
    promise.then(over, over);
    return ended;
  }

  /** What can be seen at any time. */
  async #look(): Promise<void> {
    if (this.#violation) throw this.#violation;
    const machines = await this.#subject.machines();
    const { maxVms = 0 } = this.#setting.options;
    must(machines.length <= maxVms, `${machines.length} machines of ${maxVms}`);
    for (const { lease } of this.#held) {
      const status = (await this.#subject.machine(lease.vm.id))?.status;
      const isHeld = this.#held.some((held) => held.lease === lease);
      must(!isHeld || status === 'running', `leased VM ${lease.vm.id} is ${status}`);
    }
    for (const { id, status } of await this.#subject.sessions.list())
      must(status !== 'lost', `session ${id} is lost`);
    if (this.#violation) throw this.#violation;
  }
}
