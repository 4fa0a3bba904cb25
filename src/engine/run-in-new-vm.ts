import { runLabel } from '../executor/index.ts';
import type { ExecResult } from '../guest/index.ts';
import type { RunOptions, VmRuntime, VmSpec } from '../vm/index.ts';
import type { AroundRun, CallOptions } from './alcove.ts';
import { VmHandle } from './vm-handle.ts';

/** Creates, starts, runs, destroys. The VM is gone on every way out, also when the engine is killed: then at the next open. */
export async function runInNewVm(
  runtime: VmRuntime,
  spec: VmSpec,
  command: RunOptions,
  options: CallOptions & { around?: AroundRun },
): Promise<ExecResult> {
  const { around, ...call } = options;
  const { id } = await runtime.create({ ...spec, labels: { ...spec.labels, [runLabel]: 'yes' } }, call);
  await using vm = new VmHandle(runtime, id);
  await vm.start(call);
  await around?.before?.(vm);
  const signal = command.signal ?? call.signal;
  const result = await vm.exec({ ...command, ...(signal && { signal }) });
  await around?.after?.(vm);
  return result;
}
