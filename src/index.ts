/** What a library user imports; nothing else is public. */

export type { Alcove, AroundRun, CallOptions, OpenOptions, Vm } from './engine/index.ts';
export { openAlcove } from './engine/index.ts';
export { AlcoveError, type ErrorCode, type ErrorDetails, errorTable, isAlcoveError } from './errors.ts';
export type {
  Command,
  DetachedCommand,
  ExecExit,
  ExecRequest,
  ExecResult,
  FileChange,
  FileStat,
  GuestConnection,
  GuestFiles,
  GuestProcess,
  GuestSink,
  GuestUsage,
  TerminalSize,
} from './guest/index.ts';
export { builtinImage, type Image, type ImageConfig, type ImageSource } from './images/index.ts';
export type {
  DiskUsage,
  DiskUse,
  ForkResult,
  GarbageItem,
  GarbageOptions,
  GarbageReport,
  LineageNode,
  RestoreSpec,
  RunOptions,
  SnapshotInfo,
  SnapshotRef,
  SpareInfo,
  VmInfo,
  VmSpec,
  VmStatus,
  WarmOptions,
  WarmSpec,
  WarmStats,
} from './vm/index.ts';
