/** Steps of the backend's own work at which an engine may die; crash tests stop it at each in turn. */
export const qemuFailpoints = [
  'template.directory',
  'template.spawned',
  'template.saved',
  'template.booted',
  'template.sealed',
  'template.committed',
  'start.placed',
  'start.loaded',
  'start.marked',
  'capture.frozen',
  'capture.saved',
  'capture.resumed',
  'capture.written',
  'suspend.marked',
] as const;

export type QemuFailpointName = (typeof qemuFailpoints)[number];

/** Called, and awaited, at every step. Does nothing in production. */
export type Failpoint = (name: QemuFailpointName) => Promise<void>;
