import { runLabel } from '../executor/index.ts';
import type { ExecResult } from '../guest/index.ts';
import {
  type RestoreSpec,
  type RunOptions,
  type SnapshotRef,
  VmHandle,
  type VmInfo,
  type VmRuntime,
  type VmSpec,
} from '../vm/index.ts';
import type { AroundRun, CallOptions } from './alcove.ts';

/** A machine from an image, or from a snapshot. */
export type RunSource = VmSpec | ({ from: SnapshotRef } & RestoreSpec);

/** Creates, starts, runs, destroys. The VM is gone on every way out, also when the engine is killed: then at the next open. */
export async function runInNewVm(
  runtime: VmRuntime,
  source: RunSource,
  command: RunOptions,
  options: CallOptions & { around?: AroundRun },
): Promise<ExecResult> {
  const { around, ...call } = options;
  const { id } = await make(runtime, source, call);
  await using vm = new VmHandle(runtime, id);
  await vm.start(call);
  await around?.before?.(vm);
  const signal = command.signal ?? call.signal;
  const result = await vm.exec({ ...command, ...(signal && { signal }) });
  await around?.after?.(vm);
  return result;
}

async function make(runtime: VmRuntime, source: RunSource, call: CallOptions): Promise<VmInfo> {
  const labels = { ...source.labels, [runLabel]: 'yes' };
  if (!('from' in source)) return runtime.create({ ...source, labels }, call);
  const { from, ...spec } = source;
  return runtime.restore(from, { ...spec, labels }, call);
}
