import { AlcoveError, cancelled } from '../errors.ts';
import type { Clock } from '../host/index.ts';
import type { LeaseMode } from './lease.ts';

/** The right to do something with a session; given back once. */
export interface Turn extends Disposable {
  release(): void;
}

export interface TurnOptions {
  signal?: AbortSignal | undefined;
  /** @default as long as it takes */
  waitMs?: number | undefined;
  onQueued?: ((place: number) => void) | undefined;
}

interface Waiter {
  mode: LeaseMode;
  begin(): void;
  /** Tells it its place. A callback that throws takes only its own caller out of the queue. */
  tell(place: number): void;
}

interface Queue {
  mode: LeaseMode;
  holders: number;
  waiting: Waiter[];
}

/**
 * Who has a session, and who waits for it: exclusive turns one at a time, shared ones together, all in the order of asking. A shared one
 * does not overtake an exclusive one that waits.
 */
export class Turns {
  readonly #clock: Clock;
  /** Only of sessions that somebody has. */
  readonly #queues = new Map<string, Queue>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How many wait for a session. */
  waiting(sessionId: string): number {
    return this.#queues.get(sessionId)?.waiting.length ?? 0;
  }

  /** How many wait in all. */
  get allWaiting(): number {
    let count = 0;
    for (const { waiting } of this.#queues.values()) count += waiting.length;
    return count;
  }

  isTaken(sessionId: string): boolean {
    return this.#queues.has(sessionId);
  }

  /** A turn, if it is to be had without waiting. */
  tryTake(sessionId: string, mode: LeaseMode): Turn | undefined {
    const queue = this.#queues.get(sessionId);
    if (!queue) {
      this.#queues.set(sessionId, { mode, holders: 1, waiting: [] });
      return this.#turn(sessionId);
    }
    if (mode === 'exclusive' || queue.mode === 'exclusive' || queue.waiting.length > 0) return undefined;
    queue.holders++;
    return this.#turn(sessionId);
  }

  /** Waits for a turn. A caller that gives up leaves no trace. @throws AlcoveError `Cancelled`, `SessionBusy` when `waitMs` is over */
  async take(sessionId: string, mode: LeaseMode, options: TurnOptions = {}): Promise<Turn> {
    const { signal, waitMs, onQueued } = options;
    if (signal?.aborted) throw cancelled(`acquiring session ${sessionId}`, signal);
    const turn = this.tryTake(sessionId, mode);
    if (turn) return turn;
    if (waitMs === 0) throw this.busy(sessionId);
    const queue = this.#queues.get(sessionId) as Queue; // Else there had been a turn.
    const { promise, resolve, reject } = Promise.withResolvers<Turn>();
    const tell = (place: number) => {
      try {
        onQueued?.(place);
      } catch (error) {
        giveUp(() => error);
      }
    };
    const waiter: Waiter = { mode, begin: () => resolve(this.#turn(sessionId)), tell };
    const giveUp = (error: () => unknown) => {
      const place = queue.waiting.indexOf(waiter);
      if (place < 0) return; // Its turn came in the same instant.
      queue.waiting.splice(place, 1);
      reject(error());
      this.#advance(sessionId, queue);
    };
    const onAbort = () => giveUp(() => cancelled(`acquiring session ${sessionId}`, signal));
    const onLate = () => giveUp(() => this.busy(sessionId));
    signal?.addEventListener('abort', onAbort, { once: true });
    const cancelTimer = waitMs === undefined ? undefined : this.#clock.timer(waitMs, onLate);
    queue.waiting.push(waiter);
    tell(queue.waiting.length);
    try {
      return await promise;
    } finally {
      cancelTimer?.();
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** The error for who does not wait for a session that somebody has. */
  busy(sessionId: string): AlcoveError<'SessionBusy'> {
    const { holders: leases, waiting } = this.#queues.get(sessionId) ?? { holders: 0, waiting: [] };
    const others = waiting.length > 0 ? `, and ${waiting.length} wait for it` : '';
    return new AlcoveError('SessionBusy', `session ${sessionId} is in use${others}`, {
      details: { sessionId, leases, waiting: waiting.length },
    });
  }

  #turn(sessionId: string): Turn {
    let isOver = false;
    const release = () => {
      const queue = this.#queues.get(sessionId);
      if (isOver || !queue) return;
      isOver = true;
      queue.holders--;
      this.#advance(sessionId, queue);
    };
    return { release, [Symbol.dispose]: release };
  }

  /** Lets in whoever may come in, and tells the others where they stand. */
  #advance(sessionId: string, queue: Queue): void {
    for (;;) {
      const [next] = queue.waiting;
      const canCome = queue.holders === 0 || (next?.mode === 'shared' && queue.mode === 'shared');
      if (!next || !canCome) break;
      queue.waiting.shift();
      queue.mode = next.mode;
      queue.holders++;
      next.begin();
    }
    if (queue.holders === 0) this.#queues.delete(sessionId);
    for (const waiter of [...queue.waiting]) {
      const place = queue.waiting.indexOf(waiter) + 1;
      if (place > 0) waiter.tell(place); // Else another's callback made it give up.
    }
  }
}
