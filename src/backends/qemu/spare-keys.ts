import { createHash } from 'node:crypto';
import type { MachineShape, SpareKey } from '../../vm/backend.ts';

/** Any VM of a shape, whatever its disk. */
export function shapeKey(shape: MachineShape): SpareKey {
  return `shape:${digest(machineOf(shape))}`;
}

/** A VM that begins from that image, untouched. */
export function imageKey(shape: MachineShape, imageDigest: string): SpareKey {
  return `image:${digest([...machineOf(shape), shape.diskMiB, imageDigest])}`;
}

/** A VM that goes on from that memory, whatever its disk. */
export function memoryKey(shape: MachineShape, files: readonly { digest: { sha256: string } }[]): SpareKey {
  return `memory:${digest([...machineOf(shape), ...files.map((file) => file.digest.sha256)])}`;
}

function machineOf({ bootArgs, cpus, kernel, memoryMiB, network }: MachineShape): unknown[] {
  return [cpus, memoryMiB, network, kernel.kernelDigest, kernel.initramfsDigest, bootArgs.join(' ')];
}

function digest(parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}
