import { join } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import type { BackendCallOptions } from '../../vm/backend.ts';
import { captureRunning } from './capture-running.ts';
import { imageOf } from './image-ahead.ts';
import { MiB } from './sizes.ts';
import type { VmParts } from './vm-parts.ts';

/** Ends a VM's machine with its memory kept, which the next start goes on from. One that fails lets the machine go on. */
export async function suspendVm(
  { ahead, context, files, machine, request }: VmParts,
  options: BackendCallOptions,
): Promise<void> {
  const { places } = files;
  const running = machine.live();
  const captured = await captureRunning(context, running, {
    ramBytes: request.shape.memoryMiB * MiB,
    spillPath: join(places.dir, 'capture.spill'),
    afterwards: 'stands still',
    ...options,
  });
  const end = async () => {
    machine.detach();
    await machine.clear(running);
    await files.removeOtherMemory();
  };
  try {
    await using pages = captured.memory;
    if (!pages) throw new AlcoveError('Internal', `the memory of ${places.id} was not captured`);
    const kept = await pages.write(places.memory, files.layers, options.signal);
    await context.at('capture.written');
    // The guest stands still, its file systems flushed: the disk is that of the memory.
    await files.keep(kept);
    await context.at('suspend.marked');
  } catch (error) {
    if (files.memoryState === 'kept') {
      // Whoever finds this on record goes on from it: the disk must stay as it is.
      await end();
    } else {
      await captured.goOn();
      await files.removeOtherMemory();
    }
    throw error;
  }
  await end();
  const kept = files.kept();
  if (kept) ahead.begin(imageOf(kept, request.shape));
}
