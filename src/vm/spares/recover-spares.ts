import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Spare } from '../backend.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import { spareDir } from './make-spare.ts';
import type { SparePool } from './spare-pool.ts';
import type { SpareRecord } from './spare-records.ts';

/**
 * Finds the spares again that an earlier engine left, ends those that are not whole, and removes what no row knows. One that
 * cannot be looked after is reported and left; it stops nobody.
 *
 * @returns what was mended, in sentences for people
 */
export async function recoverSpares(context: RuntimeContext, pool: SparePool): Promise<string[]> {
  const records = pool.records.all();
  const mended: string[] = [];
  const found = await Promise.all(records.map((record) => recoverOne(context, pool, record, mended)));
  for (const [index, record] of records.entries()) {
    const spare = found[index];
    if (!spare) continue;
    context.admission.adoptSpare(record.id, record.recipe.shape.memoryMiB);
    pool.adopt(record, spare);
    pool.stats.found++;
  }
  const known = new Set(records.map(({ id }) => id));
  for (const name of await readdir(context.places.sparesDir)) {
    if (!known.has(name)) mended.push(await removeUnknown(context, name));
  }
  return mended;
}

async function recoverOne(
  context: RuntimeContext,
  pool: SparePool,
  record: SpareRecord,
  mended: string[],
): Promise<Spare | undefined> {
  const { id, recipe } = record;
  const maker = context.backends.all.find(({ name }) => name === recipe.backend)?.spares;
  if (!maker) return undefined; // For an engine that has this backend.
  try {
    const spare = await maker.recover({ id, dir: spareDir(context, record) });
    if (!spare) {
      await pool.end({ record, spare });
      mended.push(`warm machine ${id}: removed what was left of it`);
    }
    return spare;
  } catch (error) {
    mended.push(`warm machine ${id}: could not be found again: ${(error as Error).message}`);
    return undefined;
  }
}

/** A start took its row away, and never came to take the machine. */
async function removeUnknown(context: RuntimeContext, id: string): Promise<string> {
  const dir = join(context.places.sparesDir, id);
  try {
    for (const { spares } of context.backends.all) await (await spares?.recover({ id, dir }))?.dispose();
    await rm(dir, { recursive: true, force: true });
    return `warm machine ${id}: removed it, which no record knew`;
  } catch (error) {
    return `warm machine ${id}: has no record, and could not be removed: ${(error as Error).message}`;
  }
}
