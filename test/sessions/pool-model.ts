import type { LeaseMode } from '../../src/sessions/index.ts';

/** What a session's history may be: numbers of the commands that had an effect, sorted. */
type History = readonly number[];

/** A wait for a lease, by the order of asking. */
export interface Ask {
  readonly order: number;
  readonly sessionId: string;
  readonly mode: LeaseMode;
}

/** A session as plain data. */
class SessionModel {
  /** One; more after something whose end nobody knows. */
  histories: History[] = [[]];
  /** Effects of commands that are under way. */
  readonly underWay = new Set<number>();
  /** Its machine when it was leased last. */
  vmId: string | undefined;
  leases: LeaseMode[] = [];
  readonly waiting = new Set<Ask>();
  /** Calls under way that put another machine in the place of its own, or none. */
  replacing = 0;
  /** Whether an engine died while there was one. */
  inDoubt = false;
  /** Counts what put something else in its place. */
  epoch = 0;
  /** Until when its newest detached command runs at least. */
  detachedUntilMs = 0;
}

/** What must be so of a pool, without a pool. */
export class PoolModel {
  readonly #sessions = new Map<string, SessionModel>();
  readonly #keeps: 'backups' | 'nothing';

  /** @param keeps what is left of a session whose machine was removed */
  constructor(keeps: 'backups' | 'nothing') {
    this.#keeps = keeps;
  }

  of(sessionId: string): SessionModel {
    const found = this.#sessions.get(sessionId) ?? new SessionModel();
    this.#sessions.set(sessionId, found);
    return found;
  }

  /** Sessions that somebody has had to do with. */
  get ids(): string[] {
    return [...this.#sessions.keys()];
  }

  sessionOfMachine(vmId: string): [string, SessionModel] | undefined {
    return [...this.#sessions].find(([, session]) => session.vmId === vmId);
  }

  asked(ask: Ask): void {
    this.of(ask.sessionId).waiting.add(ask);
  }

  /** It was granted, or got an error. */
  answered(ask: Ask): void {
    this.of(ask.sessionId).waiting.delete(ask);
  }

  granted(sessionId: string, mode: LeaseMode, vmId: string, ask?: Ask): void {
    const session = this.of(sessionId);
    if (ask) {
      this.answered(ask);
      const overtaken = [...session.waiting].find(
        (other) => other.order < ask.order && (other.mode === 'exclusive' || mode === 'exclusive'),
      );
      must(!overtaken, `${sessionId}: ask ${ask.order} was granted before ${overtaken?.order}`);
    }
    const isAlone = session.leases.length === 0;
    must(
      isAlone || [...session.leases, mode].every((held) => held === 'shared'),
      `${sessionId}: ${mode} lease beside ${session.leases}`,
    );
    must(isAlone || session.vmId === vmId, `${sessionId}: leases of two machines`);
    if (session.vmId !== vmId && session.vmId !== undefined && this.#keeps === 'nothing') {
      session.histories = session.inDoubt ? [...session.histories, []] : [[]];
    }
    session.vmId = vmId;
    session.leases.push(mode);
  }

  released(sessionId: string, mode: LeaseMode): void {
    const { leases } = this.of(sessionId);
    leases.splice(leases.indexOf(mode), 1);
  }

  begins(sessionId: string, effect: number): void {
    this.of(sessionId).underWay.add(effect);
  }

  /** @param is whether it had its effect, as far as anybody knows */
  ends(sessionId: string, effect: number, is: 'sure' | 'unknown' | 'not'): void {
    const session = this.of(sessionId);
    session.underWay.delete(effect);
    if (is === 'not') return;
    const with_ = session.histories.map((history) => sorted([...history, effect]));
    session.histories = is === 'sure' ? with_ : [...session.histories, ...with_];
  }

  replaced(sessionId: string, history: History, is: 'sure' | 'unknown'): void {
    const session = this.of(sessionId);
    session.epoch++;
    session.detachedUntilMs = 0;
    session.vmId = undefined;
    session.histories = is === 'sure' ? [history] : [...session.histories, history];
  }

  /** Somebody has read it. */
  seen(sessionId: string, found: readonly number[]): void {
    const session = this.of(sessionId);
    must(new Set(found).size === found.length, `${sessionId}: an effect twice in ${found}`);
    const fitting = session.histories.filter((history) => fits(session, history, found));
    must(
      fitting.length > 0,
      `${sessionId}: has ${sorted(found)}, not ${session.histories.map((history) => `[${history}]`).join(' or ')} (under way: ${[...session.underWay]})`,
    );
    session.histories = fitting;
    session.inDoubt = false;
  }

  /** What every history of it has. */
  certain(sessionId: string): number[] {
    const [first = [], ...rest] = this.of(sessionId).histories;
    return first.filter((effect) => rest.every((history) => history.includes(effect)));
  }

  /** Whether a backup is the session as it is. */
  isAllOf(sessionId: string, backup: History): boolean {
    const session = this.of(sessionId);
    return session.histories.some((history) => fits(session, history, backup));
  }

  /** The engine died: what was under way may have happened. */
  engineDied(): void {
    for (const [id, session] of this.#sessions) {
      for (const effect of [...session.underWay]) this.ends(id, effect, 'unknown');
      if (session.replacing > 0) session.inDoubt = true;
      session.replacing = 0;
      session.leases = [];
      session.waiting.clear();
    }
  }
}

function fits({ underWay }: SessionModel, history: History, found: readonly number[]): boolean {
  return (
    history.every((effect) => found.includes(effect)) &&
    found.every((effect) => history.includes(effect) || underWay.has(effect))
  );
}

export function sorted(numbers: readonly number[]): number[] {
  return [...numbers].sort((a, b) => a - b);
}

export function must(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new Error(otherwise);
}

/** The lines of the file `history` in a tar of a workdir. */
export function historyIn(tar: Uint8Array): number[] {
  const bytes = Buffer.from(tar);
  for (let at = 0; at + 512 <= bytes.length; ) {
    const name = bytes.toString('latin1', at, at + 100).replace(/\0.*$/s, '');
    const size = Number.parseInt(bytes.toString('latin1', at + 124, at + 136), 8) || 0;
    if (/^(\.\/)?history$/.test(name)) return numbersIn(bytes.toString('latin1', at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return [];
}

export function numbersIn(text: string): number[] {
  return text.split('\n').filter(Boolean).map(Number);
}
