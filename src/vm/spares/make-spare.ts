import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import type { BackendCallOptions, Spare, SpareMaker } from '../backend.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import { spareRequest } from './recipe.ts';
import type { SpareRecord, SpareRecords } from './spare-records.ts';

/** Row, directory, the backend's work. What was done of it stays when one of them fails; no machine does. */
export async function makeSpare(
  context: RuntimeContext,
  records: SpareRecords,
  record: SpareRecord,
  options: BackendCallOptions,
): Promise<Spare> {
  const { at } = context;
  const dir = spareDir(context, record);
  const maker = makerOf(context, record.recipe.backend);
  using needed = await spareRequest(context, record, dir, options);
  records.insert(record);
  await at('spare.recorded');
  await mkdir(dir, { mode: 0o700 });
  await at('spare.directory');
  const spare = await maker.make(needed.request, options);
  await at('spare.made');
  if (!options.signal?.aborted) return spare;
  await spare.dispose();
  throw options.signal.reason;
}

export function spareDir(context: RuntimeContext, { id }: SpareRecord): string {
  return join(context.places.sparesDir, id);
}

/** @throws AlcoveError `Unsupported`, `BackendUnavailable` */
export function makerOf(context: RuntimeContext, backend: string): SpareMaker {
  const maker = context.backends.named(backend).spares;
  if (maker) return maker;
  throw new AlcoveError('Unsupported', `the ${backend} backend makes no machines ahead of need`, {
    details: { capability: 'spares' },
  });
}
