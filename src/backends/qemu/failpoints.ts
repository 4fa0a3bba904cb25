/** Steps of the backend's own work at which an engine may die; crash tests stop it at each in turn. */
export type QemuFailpointName =
  | 'template.directory'
  | 'template.spawned'
  | 'template.saved'
  | 'template.booted'
  | 'template.sealed'
  | 'template.committed'
  | 'start.placed'
  | 'start.loaded'
  | 'start.marked'
  | 'capture.frozen'
  | 'capture.saved'
  | 'capture.resumed'
  | 'capture.written'
  | 'suspend.marked';

/** Called, and awaited, at every step. Does nothing in production. */
export type Failpoint = (name: QemuFailpointName) => Promise<void>;
