import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import type { BackendCallOptions, Spare, SpareKey } from '../../vm/backend.ts';
import type { VmHost } from './memory-vm.ts';
import type { MemoryWorld } from './memory-world.ts';

/** Moves a spare into a VM's directory. From then on it is the VM's, whatever becomes of the start. */
export async function takeSpare(
  host: VmHost,
  vm: { id: string; spareKeys: readonly SpareKey[] },
  vmDir: string,
  spare: Spare,
  options: BackendCallOptions | undefined,
): Promise<void> {
  host.log(vm.id, 'take-spare', spare.id);
  const machine = host.world.spares.get(spare.dir);
  if (!machine) throw new AlcoveError('VmFailed', `the spare ${spare.id} has ended`);
  machine.taken = true;
  await host.pass('take-spare.begin', vm.id, options);
  if (!vm.spareKeys.includes(spare.key)) throw new Error(`${spare.key} is no spare for VM ${vm.id}`);
  const taken = takenDir(vmDir);
  rmSync(taken, { recursive: true, force: true });
  renameSync(spare.dir, taken);
  host.world.spares.delete(spare.dir);
  host.world.spares.set(taken, { id: spare.id, taken: true, onDeath: new Set() });
  await host.pass('take-spare.middle', vm.id, options);
  await host.pass('take-spare.end', vm.id, options);
}

/** Ends what a start has taken over and not made the VM's machine yet, or forgets it when it has. */
export function endTakenSpare(world: MemoryWorld, vmDir: string): void {
  world.spares.delete(takenDir(vmDir));
}

function takenDir(vmDir: string): string {
  return join(vmDir, 'spare');
}
