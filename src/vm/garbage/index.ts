/** Garbage collection by reference: what neither a VM, a snapshot, a call under way nor the next start needs. */
export { collectGarbage, type GarbageOptions, type GarbageReport } from './collect-garbage.ts';
export type { GarbageItem, GarbageKind } from './garbage.ts';
