import { isAlcoveError } from '../errors.ts';
import type { SnapshotRef } from '../vm/index.ts';
import type { ExecutorContext } from './context.ts';
import type { KeyedPlan } from './plan.ts';
import type { CacheEntry } from './registry/index.ts';
import { releaseSnapshots } from './release-snapshots.ts';

/** An entry whose snapshot is there, and stays until the hold is disposed. */
export interface Found {
  entry: CacheEntry;
  hold: Disposable;
}

/** Looks a key up. An entry whose snapshot is gone is dropped; a look-up that fails is a miss, and reported. */
export async function lookUp(
  context: ExecutorContext,
  { key, maxAgeMs }: Pick<KeyedPlan, 'key' | 'maxAgeMs'>,
  warn: (message: string) => void,
): Promise<Found | undefined> {
  const { registry, runtime, clock } = context;
  try {
    const nowMs = clock.now();
    const found = registry.get(key, { nowMs, ...(maxAgeMs !== undefined && { maxAgeMs }) });
    if (!found || found.expired) return undefined;
    const { entry } = found;
    const hold = holdSnapshot(context, entry.snapshot);
    if (hold && (await runtime.snapshots.has(entry.snapshot))) return { entry, hold };
    hold?.[Symbol.dispose]();
    registry.invalidate(key, { reason: 'snapshot gone', nowMs, snapshot: entry.snapshot });
    if (hold)
      context.background.run(`remove what is left of ${entry.snapshot}`, () =>
        releaseSnapshots(context, [entry.snapshot]),
      );
    return undefined;
  } catch (error) {
    if (isAlcoveError(error, 'InvalidInput')) throw error;
    warn(`the cache could not be looked at: ${(error as Error).message}`);
    return undefined;
  }
}

/** Keeps a snapshot from being evicted and removed; `undefined` when there is none. */
export function holdSnapshot(
  { runtime, registry }: ExecutorContext,
  snapshot: SnapshotRef,
): Disposable | undefined {
  try {
    const hold = runtime.snapshots.hold(snapshot);
    const lease = registry.lease(snapshot);
    return {
      [Symbol.dispose]: () => {
        lease[Symbol.dispose]();
        hold[Symbol.dispose]();
      },
    };
  } catch (error) {
    if (isAlcoveError(error, 'SnapshotNotFound')) return undefined;
    throw error;
  }
}
