/** Cached results as files for elsewhere: archives of snapshots (`src/vm/portable`) to which a list of entries is attached. */
export { exportCache } from './export-cache.ts';
export { importCache } from './import-cache.ts';
