/** Cached execution: actions run in machines of their own, and never twice. */
export type * from './action.ts';
export type * from './cache.ts';
export type * from './execute-options.ts';
export { Executor } from './executor.ts';
export type * from './explanation.ts';
export { type ExecuteFailpoint, type ExecuteFailpointName, executeFailpoints } from './failpoints.ts';
export type { InjectedTree, InputChange, StoredInputs, TreeEntry } from './keys/inputs.ts';
export { type OpenExecutorOptions, openExecutor } from './open-executor.ts';
export * from './pipeline/index.ts';
export type { CacheEntry, CacheLimits, GoneReason, KeyHistory } from './registry/entry.ts';
export { destroyLeftRuns, runLabel } from './run/left-runs.ts';
