import type { SpareKey } from '../backend.ts';
import type { Recipe } from './spare-records.ts';

/** A spare that starts have asked for lately, whether or not there was one. */
export interface InUse {
  readonly key: SpareKey;
  recipe: Recipe;
  /** When it was asked for last, of the monotonic clock. */
  askedMs: number;
  /** How many in a row could not be made, ended by themselves, or were of no use. */
  failures: number;
  /** Before this none is made. */
  retryMs: number;
}

/** What is worth keeping ahead of need. */
export class Demand {
  readonly #inUse = new Map<SpareKey, InUse>();

  /** The one asked for longest ago first; of one start's, the best first. */
  get all(): InUse[] {
    return [...this.#inUse.values()].sort((a, b) => a.askedMs - b.askedMs);
  }

  of(key: SpareKey): InUse | undefined {
    return this.#inUse.get(key);
  }

  note(key: SpareKey, recipe: Recipe, nowMs: number): void {
    const use = this.#inUse.get(key) ?? { key, failures: 0, retryMs: Number.NEGATIVE_INFINITY };
    this.#inUse.delete(key); // Comes last from now on.
    this.#inUse.set(key, Object.assign(use, { recipe, askedMs: nowMs }));
  }

  /** When one of this key was asked for last; long ago when nobody knows. */
  askedMs(key: SpareKey): number {
    return this.#inUse.get(key)?.askedMs ?? Number.NEGATIVE_INFINITY;
  }

  forget(key: SpareKey): void {
    this.#inUse.delete(key);
  }
}
