import type { InputChange } from './keys/inputs.ts';
import type { CacheEntry, KeyHistory } from './registry/entry.ts';

/** Whether an action would be a hit now, and why. */
export type Explanation =
  | { verdict: 'hit'; key: string; entry: CacheEntry }
  | { verdict: 'miss'; key: string; why: MissReason; nearest?: NearestEntry }
  /** The policy is `none`. */
  | { verdict: 'not cached' };

export type MissReason =
  /** Nothing is known of the key: see `nearest` for what is different. */
  | { reason: 'new' }
  /** It had an entry, or its run failed. */
  | { reason: 'gone'; history: KeyHistory }
  | { reason: 'expired'; entry: CacheEntry; maxAgeMs: number }
  /** It has an entry, whose snapshot is not there any more. */
  | { reason: 'snapshot gone'; entry: CacheEntry };

/** The earlier entry that has the fewest differences. */
export interface NearestEntry {
  key: string;
  createdAtMs: number;
  name?: string;
  changes: readonly InputChange[];
}

export interface StepExplanation {
  step: string;
  explanation: Explanation;
}
