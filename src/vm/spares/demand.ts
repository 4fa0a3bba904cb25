import type { SpareKey } from '../backend.ts';

/** Which spares starts have asked for, and when last. */
export class Demand {
  readonly #askedMs = new Map<SpareKey, number>();

  /** A start would have taken one of these. */
  note(keys: readonly SpareKey[], nowMs: number): void {
    for (const key of keys) this.#askedMs.set(key, nowMs);
  }

  /** When one of this key was asked for last; long ago when never. */
  askedMs(key: SpareKey): number {
    return this.#askedMs.get(key) ?? Number.NEGATIVE_INFINITY;
  }
}
