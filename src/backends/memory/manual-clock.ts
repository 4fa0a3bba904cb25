import type { Clock } from '../../host/index.ts';

interface Alarm {
  atMs: number;
  ring: () => void;
}

/** A clock that stands still until it is told to go on: nothing in a test waits for real time. */
export class ManualClock implements Clock {
  #nowMs = 0;
  readonly #epochMs: number;
  readonly #alarms = new Set<Alarm>();

  /** @param epochMs what {@link now} says at the beginning */
  constructor(epochMs = Date.UTC(2030, 0, 1)) {
    this.#epochMs = epochMs;
  }

  now(): number {
    return this.#epochMs + this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs;
  }

  /** How many are waiting for time to pass. */
  get waiting(): number {
    return this.#alarms.size;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    if (signal?.aborted) {
      reject(signal.reason);
      return promise;
    }
    const onAbort = () => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = this.timer(ms, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
    return promise;
  }

  timer(ms: number, callback: () => void): () => void {
    const alarm: Alarm = { atMs: this.#nowMs + Math.max(0, ms), ring: callback };
    this.#alarms.add(alarm);
    return () => this.#alarms.delete(alarm);
  }

  /** Lets time pass: rings what falls due, in order, and lets what that wakes run before the next. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      await settled();
      const next = [...this.#alarms].filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (!next) break;
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      this.#alarms.delete(next);
      next.ring();
    }
    this.#nowMs = untilMs;
    await settled();
  }

  /** Waits until somebody waits for time to pass, so that {@link advance} wakes them. */
  async whenWaiting(count = 1): Promise<void> {
    while (this.#alarms.size < count) await settled();
  }
}

/** One turn of the event loop, with all the promises that are ready. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
