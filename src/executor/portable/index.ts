/** Cached results as files for elsewhere. */
import type { CacheCallOptions, CacheImportReport } from '../cache.ts';
import type { ExecutorContext } from '../context.ts';

type Context = Pick<ExecutorContext, 'registry' | 'runtime' | 'clock' | 'random' | 'platform'>;

/** See `Cache.export`. */
export async function* exportCache(
  _context: Context,
  _options: CacheCallOptions & { keys?: readonly string[] },
): AsyncGenerator<Uint8Array, void, undefined> {
  throw new Error('to come');
}

/** See `Cache.import`. */
export async function importCache(
  _context: Context,
  _archive: AsyncIterable<Uint8Array>,
  _options: CacheCallOptions,
): Promise<CacheImportReport> {
  throw new Error('to come');
}
