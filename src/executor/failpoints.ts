/** Every step of an execute at which an engine may die, in order; crash tests stop it at each in turn. */
export const executeFailpoints = [
  'execute.begun',
  'execute.made',
  'execute.started',
  'execute.injected',
  'execute.ran',
  'execute.snapshotted',
  'execute.stored',
  'execute.released',
  'execute.destroyed',
] as const;

export type ExecuteFailpointName = (typeof executeFailpoints)[number];

/** Called, and awaited, at every step. Does nothing in production; a test's never resolves where the engine is to die. */
export type ExecuteFailpoint = (name: ExecuteFailpointName) => Promise<void> | undefined;
