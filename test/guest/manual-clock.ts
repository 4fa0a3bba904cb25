/** Tests below the memory backend use its clock too; only they reach it from here. */
export { ManualClock } from '../../src/backends/memory/manual-clock.ts';
