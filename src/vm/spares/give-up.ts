import type { Demand } from './demand.ts';
import type { GiveUpReason } from './spare-info.ts';
import type { SparePool, Waiting } from './spare-pool.ts';

const roomNeeded = 'its room was needed';

/** Those that the pool made by itself, the one that was asked for longest ago first. */
export function leastMissed(pool: SparePool, demand: Demand): Waiting[] {
  const own = pool.waiting.filter(({ record }) => record.origin === 'pool');
  return own.sort((a, b) => demand.askedMs(a.spare.key) - demand.askedMs(b.spare.key));
}

/**
 * Ends the spare that will be missed least: of the pool's own, then the one it is making, then of those made by hand. When some
 * are being ended already, waits for them instead.
 *
 * @returns whether there was one
 */
export async function giveUpOne(pool: SparePool, demand: Demand, reason: GiveUpReason): Promise<boolean> {
  if (pool.ending) {
    await pool.settled();
    return true;
  }
  const { making } = pool;
  const [own] = leastMissed(pool, demand);
  if (own) await pool.giveUp(own, reason);
  else if (making?.record.origin === 'pool') await making.giveUp(roomNeeded);
  else if (pool.waiting[0]) await pool.giveUp(pool.waiting[0], reason);
  else if (making) await making.giveUp(roomNeeded);
  else return false;
  return true;
}
