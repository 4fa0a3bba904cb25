import type { ExecResult } from '../guest/index.ts';
import type { RunOptions, VmRuntime, VmSpec } from '../vm/index.ts';
import type { AroundRun, CallOptions } from './alcove.ts';
import { VmHandle } from './vm-handle.ts';

/** Marks a VM that lives only as long as one command; one that is found at open was left by an engine that died. */
const runLabel = 'alcove.run';

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

/** Destroys the VMs of runs whose engine died; says so in sentences. One that cannot be destroyed stays for the next time. */
export async function destroyLeftRuns(runtime: VmRuntime): Promise<string[]> {
  const left = await runtime.list({ labels: { [runLabel]: 'yes' }, destroyed: 'leave-out' });
  const outcomes = left.map(async ({ id }) => {
    try {
      await runtime.destroy(id);
      return `destroyed VM ${id}, left by a run that was killed`;
    } catch (error) {
      return `VM ${id}, left by a run that was killed, could not be destroyed: ${(error as Error).message}`;
    }
  });
  return Promise.all(outcomes);
}
