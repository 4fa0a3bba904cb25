import type { MachineImage, MachineShape, SpareKey, SpareRequest } from '../../vm/backend.ts';
import type { StoredMachine } from './stored-machine.ts';

/** Names of the spares a VM could take, the best first. */
export function spareKeys(
  shape: MachineShape,
  image: MachineImage,
  origin: StoredMachine['origin'],
): SpareKey[] {
  switch (origin) {
    case undefined:
      return [shapeKey(shape)];
    case 'image':
      return [imageKey(shape, image), shapeKey(shape)];
    case 'own memory':
      return ['memory:its own'];
    default:
      return [memoryKey(origin.snapshot)];
  }
}

export function keyOf(request: SpareRequest): SpareKey {
  switch (request.kind) {
    case 'shape':
      return shapeKey(request.shape);
    case 'image':
      return imageKey(request.shape, request.image);
    case 'memory':
      return memoryKey(request.snapshot.dir);
  }
}

function shapeKey({ cpus, memoryMiB, network, kernel, bootArgs }: MachineShape): SpareKey {
  return `shape:${[cpus, memoryMiB, network, kernel.kernelDigest, kernel.initramfsDigest, ...bootArgs].join(' ')}`;
}

function imageKey(shape: MachineShape, { digest }: MachineImage): SpareKey {
  return `image:${digest} ${shape.diskMiB} ${shapeKey(shape)}`;
}

function memoryKey(snapshotDir: string): SpareKey {
  return `memory:${snapshotDir}`;
}
