/**
 * Every step of a journalled call at which an engine may die. Crash tests stop it at each in turn, open the state
 * directory again and look whether the promises hold.
 */
export const failpoints = [
  'create.journalled',
  'create.made',
  'create.synced',
  'create.committed',
  'start.journalled',
  'start.done',
  'start.committed',
  'stop.journalled',
  'stop.done',
  'stop.committed',
  'pause.journalled',
  'pause.done',
  'pause.committed',
  'resume.journalled',
  'resume.done',
  'resume.committed',
  'snapshot.journalled',
  'snapshot.directory',
  'snapshot.captured',
  'snapshot.synced',
  'snapshot.committed',
  'destroy.journalled',
  'destroy.ended',
  'destroy.removed',
  'destroy.committed',
  'remove-snapshot.journalled',
  'remove-snapshot.removed',
  'remove-snapshot.committed',
  'import.unpacked',
  'import.journalled',
  'import.placed',
  'import.committed',
  'gc.planned',
  'gc.removing',
  'gc.removed',
  'spare.recorded',
  'spare.directory',
  'spare.made',
  'spare.claimed',
  'spare.ended',
  'spare.removed',
  'spare.forgotten',
] as const;

export type FailpointName = (typeof failpoints)[number];

/**
 * Called, and awaited, at every step. Does nothing in production; a test's never resolves at the step where the
 * engine is to die, because an exception would be caught and cleaned up after, which a dead engine does not do.
 */
export type Failpoint = (name: FailpointName) => Promise<void> | undefined;
