import { statfsSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import type { VmLimits } from './admission.ts';

/** What the host has; no VM may be larger. */
export interface HostFacts {
  cores: number;
  memoryMiB: number;
  /** Size of the file system that holds the state directory. */
  diskMiB: number;
}

const mebibyte = 1024 * 1024;

/** Memory left to the host itself and the engine by {@link defaultLimits}. */
const hostReserveMiB = 512;

export function readHostFacts(stateRoot: string): HostFacts {
  const { blocks, bsize } = statfsSync(stateRoot);
  return {
    cores: availableParallelism(),
    memoryMiB: Math.floor(totalmem() / mebibyte),
    diskMiB: Math.floor((blocks * bsize) / mebibyte),
  };
}

/** 256 VMs; all memory but 512 MiB; as much disk as the file system has. */
export function defaultLimits(host: HostFacts): VmLimits {
  return {
    vms: 256,
    memoryMiB: Math.max(hostReserveMiB, host.memoryMiB - hostReserveMiB),
    diskMiB: host.diskMiB,
  };
}
