/**
 * Machines made ahead of need, so that a start is little more than letting one go on. A *spare* waits in a directory of its
 * own and survives the engine; a start that is given one uses it up. Whatever becomes of a spare, no user's call fails by it.
 */
export { type HostRoom, readHostRoom } from './host-room.ts';
export type { GiveUpReason, SpareInfo, WarmSpec, WarmStats } from './spare-info.ts';
export { type WarmOptions, warmOptions } from './spare-options.ts';
export { SpareRecords, sparesMigrations } from './spare-records.ts';
export { type Claim, Spares } from './spares.ts';
export { startMachine } from './start-machine.ts';
export type { Warm } from './warm.ts';
