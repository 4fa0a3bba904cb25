/** The durable map from cache keys to snapshots. */
export { checkCacheKey } from './check-input.ts';
export type { CacheEntry, CacheLimits, GoneReason, KeyHistory, NewEntry } from './entry.ts';
export { Registry, type RegistryOptions } from './registry.ts';
