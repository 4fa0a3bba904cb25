import type { Clock } from '../../host/index.ts';

interface Sleeper {
  leftMs: number;
  sinceMs: number;
  cancelTimer: (() => void) | undefined;
  wake: () => void;
}

/** Why a guest's time stands still. */
export type Standstill = 'off' | 'paused' | 'sealed';

/** Time as a guest sees it: it stands still while the machine is paused, and while its processes do. */
export class GuestClock {
  readonly #clock: Clock;
  readonly #sleepers = new Set<Sleeper>();
  readonly #standstills = new Set<Standstill>(['off']);
  #ranMs: number;
  #goingSinceMs: number | undefined;

  constructor(clock: Clock, uptimeMs = 0) {
    this.#clock = clock;
    this.#ranMs = uptimeMs;
  }

  /** Since boot, without the time the machine was paused or suspended. */
  uptimeMs(): number {
    const going = this.#goingSinceMs === undefined ? 0 : this.#clock.monotonic() - this.#goingSinceMs;
    return this.#ranMs + going;
  }

  /** Calls back after so much guest time. Returns how to cancel it. */
  timer(ms: number, callback: () => void): () => void {
    const sleeper: Sleeper = { leftMs: ms, sinceMs: 0, cancelTimer: undefined, wake: callback };
    this.#sleepers.add(sleeper);
    if (this.#goingSinceMs !== undefined) this.#arm(sleeper);
    return () => {
      sleeper.cancelTimer?.();
      this.#sleepers.delete(sleeper);
    };
  }

  /** Resolves after so much guest time; rejects with the signal's reason when it fires first. */
  sleep(ms: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    if (signal.aborted) {
      reject(signal.reason);
      return promise;
    }
    const onAbort = () => {
      cancel();
      reject(signal.reason);
    };
    const cancel = this.timer(ms, () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
    signal.addEventListener('abort', onAbort, { once: true });
    return promise;
  }

  /** Ends one reason to stand still. */
  go(from: Standstill): void {
    this.#standstills.delete(from);
    if (this.#standstills.size > 0 || this.#goingSinceMs !== undefined) return;
    this.#goingSinceMs = this.#clock.monotonic();
    for (const sleeper of this.#sleepers) this.#arm(sleeper);
  }

  stand(why: Standstill): void {
    this.#standstills.add(why);
    if (this.#goingSinceMs === undefined) return;
    this.#ranMs = this.uptimeMs();
    this.#goingSinceMs = undefined;
    for (const sleeper of this.#sleepers) {
      sleeper.cancelTimer?.();
      sleeper.cancelTimer = undefined;
      sleeper.leftMs -= this.#clock.monotonic() - sleeper.sinceMs;
    }
  }

  #arm(sleeper: Sleeper): void {
    sleeper.sinceMs = this.#clock.monotonic();
    sleeper.cancelTimer = this.#clock.timer(Math.max(0, sleeper.leftMs), () => {
      this.#sleepers.delete(sleeper);
      sleeper.wake();
    });
  }
}
