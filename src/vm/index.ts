/** The lifecycle of VMs: one transition table above interchangeable backends, durable and journalled. */
export type { VmLimits } from './admission.ts';
export type * from './backend.ts';
export { type CallOptions, flightOptions } from './call-options.ts';
export type { DiskUsage } from './disk-usage.ts';
export { type Failpoint, type FailpointName, failpoints } from './failpoints.ts';
export type { ForkOptions } from './fork-vm.ts';
export type { GarbageItem, GarbageKind, GarbageOptions, GarbageReport } from './garbage/index.ts';
export { defaultLimits, type HostFacts, readHostFacts } from './host-facts.ts';
export { checkId, generateId, idPattern, parseSnapshotRef, type Random, snapshotRef } from './ids.ts';
export type { StopOptions } from './lifecycle.ts';
export type { LineageNode } from './lineage.ts';
export { openVmRuntime, type VmRuntimeOptions } from './open-vm-runtime.ts';
export { Pins } from './pins.ts';
export type {
  ExportSetOptions,
  ImportedSnapshots,
  ImportSetOptions,
  Naming,
  OfferedSnapshot,
  SetOffer,
  SetPart,
} from './portable/index.ts';
export { untilAborted, zstdCompressed } from './portable/index.ts';
export { checkUserLabels, sessionLabel } from './reserved-labels.ts';
export type { VmPlaces } from './runtime-context.ts';
export type {
  GiveUpReason,
  HostRoom,
  SpareInfo,
  WarmOptions,
  WarmSpec,
  WarmStats,
} from './spares/index.ts';
export type { SnapshotOptions } from './take-snapshot.ts';
export { aims, transitions, type VmCall } from './transitions.ts';
export type * from './vm.ts';
export type { Vm } from './vm-calls.ts';
export { VmHandle } from './vm-handle.ts';
export { VmRuntime } from './vm-runtime.ts';
export { defaultMachine, minimumDiskMiB, minimumMemoryMiB } from './vm-spec.ts';
