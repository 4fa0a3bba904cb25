/** What a backend was asked to do, in the order it was asked. */
export type MemoryCall =
  | 'create'
  | 'restore'
  | 'recover'
  | 'reap'
  | 'start'
  | 'stop'
  | 'pause'
  | 'resume'
  | 'snapshot'
  | 'destroy'
  | 'make-spare'
  | 'recover-spare'
  | 'take-spare'
  | 'dispose-spare'
  | 'release-spare'
  | 'release'
  | 'exec'
  | 'attach'
  | 'dial'
  | 'read'
  | 'write'
  | 'remove'
  | 'rename'
  | 'tarIn'
  | 'tarOut';

export interface MemoryLogEntry {
  /** A VM's id, or a spare's. */
  vm: string;
  call: MemoryCall;
  /** The command line, path, port, snapshot directory or spare it was about. */
  about?: string;
}
