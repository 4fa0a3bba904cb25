import { AlcoveError, cancelled } from '../errors.ts';
import type { Clock } from '../host/index.ts';

export interface PlaceOptions {
  signal?: AbortSignal | undefined;
  /** How long to wait when no place can be made free at once, in ms. @default 0 */
  waitMs?: number | undefined;
  /** Told when it is not to be had at once. */
  onWait?: (() => void) | undefined;
}

interface Waiter {
  vmId: string;
  patience: 'none' | 'some';
  resolve(): void;
  reject(error: AlcoveError): void;
}

/**
 * The places for machines of sessions: a hard limit. One is taken before its machine is made and given back when that is gone. Who finds
 * none waits in the order of asking, while room is being made.
 */
export class Places {
  readonly max: number;
  readonly #clock: Clock;
  readonly #makeRoom: () => Promise<boolean>;
  /** By the id of the machine. */
  readonly #taken = new Set<string>();
  readonly #waiting: Waiter[] = [];
  /** The round that is under way. */
  #making: Promise<void> | undefined;
  /** Whether something changed since the round that is under way began. */
  #changed = false;

  /** @param makeRoom removes a machine that may go; says whether there was one. Never called twice at once */
  constructor(max: number, clock: Clock, makeRoom: () => Promise<boolean>) {
    this.max = max;
    this.#clock = clock;
    this.#makeRoom = makeRoom;
  }

  get taken(): number {
    return this.#taken.size;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Counts a machine that was found, room or no room: it is there. */
  adopt(vmId: string): void {
    this.#taken.add(vmId);
  }

  /** @throws AlcoveError `AtCapacity`, `Cancelled` */
  async take(vmId: string, { signal, waitMs = 0, onWait }: PlaceOptions = {}): Promise<void> {
    if (signal?.aborted) throw cancelled('waiting for a place in the pool', signal);
    if (this.#waiting.length === 0 && this.#taken.size < this.max) {
      this.#taken.add(vmId);
      return;
    }
    onWait?.();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = { vmId, patience: waitMs > 0 ? 'some' : 'none', resolve, reject };
    const giveUp = (error: AlcoveError) => {
      const at = this.#waiting.indexOf(waiter);
      if (at < 0) return; // It was given one in the same instant.
      this.#waiting.splice(at, 1);
      reject(error);
    };
    const onAbort = () => giveUp(cancelled('waiting for a place in the pool', signal));
    signal?.addEventListener('abort', onAbort, { once: true });
    const cancelTimer = waitMs > 0 ? this.#clock.timer(waitMs, () => giveUp(this.#full())) : undefined;
    this.#waiting.push(waiter);
    this.#pump();
    try {
      await promise;
    } finally {
      cancelTimer?.();
      signal?.removeEventListener('abort', onAbort);
    }
  }

  release(vmId: string): void {
    if (this.#taken.delete(vmId)) this.reconsider();
  }

  /** Something has changed that may let room be made: a session was stopped, given back, backed up. */
  reconsider(): void {
    this.#changed = true;
    this.#pump();
  }

  /** Resolves when no room is being made. */
  async settled(): Promise<void> {
    while (this.#making) await this.#making;
  }

  #pump(): void {
    while (this.#taken.size < this.max) {
      const waiter = this.#waiting.shift();
      if (!waiter) return;
      this.#taken.add(waiter.vmId);
      waiter.resolve();
    }
    if (this.#waiting.length === 0 || this.#making) return;
    this.#making = this.#round();
  }

  async #round(): Promise<void> {
    this.#changed = false;
    const made = await this.#makeRoom().catch(() => false); // It says itself why it could not.
    this.#making = undefined;
    if (!made && !this.#changed) this.#dismiss();
    else this.#pump();
  }

  /** No room can be made now: those who do not wait are told. */
  #dismiss(): void {
    for (const waiter of this.#waiting.filter(({ patience }) => patience === 'none')) {
      this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
      waiter.reject(this.#full());
    }
  }

  #full(): AlcoveError<'AtCapacity'> {
    return new AlcoveError('AtCapacity', `VM pool is at capacity (${this.max} sessions)`, {
      remedy: 'Wait for a place, stop or remove a session, or raise `max_vms` in `[sessions]`.',
      details: { limit: 'sessions', max: this.max, asked: 1, taken: this.#taken.size },
    });
  }
}
