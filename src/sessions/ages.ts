import type { Clock } from '../host/index.ts';

/**
 * How long something has been so, by id. The wall clock only says it of what was so before this engine opened; from then on a clock counts
 * that nobody can set.
 */
export class Ages {
  readonly #clock: Clock;
  /** On the monotonic clock. */
  readonly #since = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** It has been so since now. */
  start(id: string): void {
    this.#since.set(id, this.#clock.monotonic());
  }

  forget(id: string): void {
    this.#since.delete(id);
  }

  /**
   * How long, in ms.
   *
   * @param sinceMs what was stored, by the wall clock; what lies in the future counts as now
   */
  ms(id: string, sinceMs: number): number {
    const now = this.#clock.monotonic();
    const since = this.#since.get(id) ?? now - Math.max(0, this.#clock.now() - sinceMs);
    this.#since.set(id, since);
    return now - since;
  }
}
