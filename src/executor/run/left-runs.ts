import type { VmRuntime } from '../../vm/index.ts';

/** Marks a VM that lives only as long as one command; one that is found at open was left by an engine that died. */
export const runLabel = 'alcove.run';

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
