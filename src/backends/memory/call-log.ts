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
  vm: string;
  call: MemoryCall;
  /** The command line, path, port or snapshot directory it was about. */
  about?: string;
}
