import { cancelled } from '../errors.ts';

interface Waiter {
  begin(): void;
}

/**
 * Takes calls on one VM one after the other, in the order they came; calls on different VMs run in parallel.
 * A lane exists only while something is in it.
 */
export class Lanes {
  /** Who waits behind the call under way, by VM id. */
  readonly #lanes = new Map<string, Waiter[]>();
  readonly #underWay = new Set<Promise<unknown>>();

  /**
   * Runs `work` when every earlier call of this lane has ended. A caller that gives up while it waits leaves no trace;
   * once `work` has begun, the signal is its own business.
   *
   * @param what names the call in the error
   * @throws AlcoveError `Cancelled`
   */
  async run<T>(
    lane: string,
    what: string,
    work: () => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const done = this.#run(lane, what, work, signal);
    this.#underWay.add(done);
    try {
      return await done;
    } finally {
      this.#underWay.delete(done);
    }
  }

  /** Resolves when no call is under way or waiting any more. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
  }

  async #run<T>(
    lane: string,
    what: string,
    work: () => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    await this.#turn(lane, what, signal);
    try {
      return await work();
    } finally {
      this.#next(lane);
    }
  }

  async #turn(lane: string, what: string, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) throw cancelled(what, signal);
    const waiting = this.#lanes.get(lane);
    if (!waiting) {
      this.#lanes.set(lane, []);
      return;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = { begin: resolve };
    const giveUp = () => {
      const place = waiting.indexOf(waiter);
      if (place < 0) return; // Its turn came in the same instant.
      waiting.splice(place, 1);
      reject(cancelled(what, signal));
    };
    waiting.push(waiter);
    signal?.addEventListener('abort', giveUp, { once: true });
    try {
      await promise;
    } finally {
      signal?.removeEventListener('abort', giveUp);
    }
  }

  #next(lane: string): void {
    const waiter = this.#lanes.get(lane)?.shift();
    if (waiter) waiter.begin();
    else this.#lanes.delete(lane);
  }
}
