import { AlcoveError } from '../errors.ts';
import type { CacheEntry, Registry } from './registry/index.ts';

/** The entry of a key, or of what only one key begins with. @throws AlcoveError `CacheEntryNotFound`, also for a prefix of several keys */
export function findEntry(registry: Registry, keyOrPrefix: string): CacheEntry {
  const entry = registry.peek(keyOrPrefix);
  if (entry) return entry;
  const [first, second] = registry.list({ prefix: keyOrPrefix, limit: 2 });
  if (first && !second) return first;
  const what = second ? `several keys begin with ${keyOrPrefix}` : `nothing is cached as ${keyOrPrefix}`;
  throw new AlcoveError('CacheEntryNotFound', what, { details: { key: keyOrPrefix } });
}
