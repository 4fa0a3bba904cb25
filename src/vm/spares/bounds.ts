import type { Admission } from '../admission.ts';
import type { Demand } from './demand.ts';
import { leastMissed } from './give-up.ts';
import type { WarmOptions } from './spare-options.ts';
import type { SparePool, Waiting } from './spare-pool.ts';

export interface Bounds {
  admission: Admission;
  pool: SparePool;
  demand: Demand;
  options: Pick<WarmOptions, 'max' | 'memoryMiB'>;
}

/** What bounds the spares that wait, and how much of it is free. */
export type Shortfall = 'max' | 'memoryMiB' | 'limit';

/** Which bound one more of this size would break, if `givenUp` were gone. */
export function shortfall(
  { admission, pool, options }: Bounds,
  memoryMiB: number,
  givenUp: readonly Waiting[] = [],
): Shortfall | undefined {
  const freedMiB = givenUp.reduce((sum, { record }) => sum + record.recipe.shape.memoryMiB, 0);
  const { taken } = pool;
  if (taken.count - givenUp.length + 1 > options.max) return 'max';
  if (taken.memoryMiB - freedMiB + memoryMiB > options.memoryMiB) return 'memoryMiB';
  return admission.hasRoomForSpare(memoryMiB - freedMiB) ? undefined : 'limit';
}

/**
 * Which of the pool's own must go so that one more fits: none, when it fits as it is.
 *
 * @param askedMs only those asked for before this count
 * @returns `undefined` when it does not fit whatever goes; then nothing should
 */
export function fitAfterGivingUp(
  bounds: Bounds,
  memoryMiB: number,
  askedMs: number,
): readonly Waiting[] | undefined {
  const older = leastMissed(bounds.pool, bounds.demand).filter(
    ({ spare }) => bounds.demand.askedMs(spare.key) < askedMs,
  );
  for (let count = 0; count <= older.length; count++) {
    const victims = older.slice(0, count);
    if (shortfall(bounds, memoryMiB, victims) === undefined) return victims;
  }
  return undefined;
}
