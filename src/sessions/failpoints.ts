/** Every step at which an engine may die while it works on a session; crash tests stop it at each in turn. */
export const sessionFailpoints = [
  'make.begun',
  'make.started',
  'make.bootstrapped',
  'make.unpacked',
  'make.recorded',
  'wake.recorded',
  'wake.started',
  'stop.begun',
  'stop.done',
  'backup.snapshotted',
  'backup.reading',
  'backup.written',
  'backup.recorded',
  'remove.recorded',
  'remove.done',
  'restore.made',
  'restore.recorded',
] as const;

export type SessionFailpointName = (typeof sessionFailpoints)[number];

/** Called, and awaited, at every step. Does nothing in production; a test's never resolves where the engine is to die. */
export type SessionFailpoint = (name: SessionFailpointName) => Promise<void> | undefined;
