/** A backend without machines, deterministic and scripted: for tests of Alcove and of what is built on it. */
export type { MemoryCall, MemoryLogEntry } from './call-log.ts';
export type { FaultOptions, MemoryPoint } from './faults.ts';
export { ManualClock } from './manual-clock.ts';
export { MemoryBackend, type MemoryBackendOptions } from './memory-backend.ts';
export type { PortHandler } from './memory-channel.ts';
export type {
  Behaviour,
  ScriptedExit,
  ScriptedFiles,
  ScriptedOutcome,
  ScriptedRun,
  ScriptMatch,
} from './script.ts';
