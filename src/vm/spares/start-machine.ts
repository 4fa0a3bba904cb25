import type { BackendCallOptions, BackendVm, StartRequest } from '../backend.ts';
import type { Machine } from '../machine.ts';
import type { Claim } from './spares.ts';

/**
 * Starts a VM's machine, with a spare where there is one. When it does not come up with it, it is started once more without:
 * a reason of the VM's own shows again then, and one of the spare's is nobody's concern.
 */
export async function startMachine(
  { vm, machine }: { vm: BackendVm; machine: Machine },
  request: StartRequest,
  claim: Claim | undefined,
  options: BackendCallOptions,
): Promise<void> {
  if (!claim) return vm.start(request, options);
  options.onProgress?.('taking a warm machine');
  try {
    await vm.start({ ...request, spare: claim.spare }, options);
  } catch (error) {
    if (options.signal?.aborted || !(await isOff(vm))) throw error;
    claim.unusable(error);
    machine.beginRun(); // The end of the first one is not the end of this one.
    await vm.start(request, options);
  }
}

/** Whether a start may be tried again. Of a machine that cannot be asked nobody knows. */
async function isOff(vm: BackendVm): Promise<boolean> {
  try {
    const state = await vm.observe();
    return state === 'off' || state === 'suspended';
  } catch {
    return false;
  }
}
