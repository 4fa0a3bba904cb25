import { readFileSync, statfsSync } from 'node:fs';
import type { WarmOptions } from './spare-options.ts';

/** What the host has left now, in MiB. */
export interface HostRoom {
  memoryMiB: number;
  /** Of the file system that holds the state directory. */
  diskMiB: number;
}

const mebibyte = 1024 * 1024;

/** `MemAvailable` of proc_meminfo(5), the kernel's estimate of what can be had without swapping; and what the file system has for this user. */
export function readHostRoom(stateRoot: string): HostRoom {
  const available = /^MemAvailable:\s*(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'));
  const { bavail, bsize } = statfsSync(stateRoot);
  return {
    memoryMiB: Math.floor(Number(available?.[1] ?? 0) / 1024),
    diskMiB: Math.floor((bavail * bsize) / mebibyte),
  };
}

/** What the host is short of, so that no machine may wait there idly. @param extraMiB memory of one that is about to be made */
export function shortage(
  room: HostRoom,
  { minFreeMemoryMiB, minFreeDiskMiB }: WarmOptions,
  extraMiB = 0,
): 'host memory' | 'host disk' | undefined {
  if (room.memoryMiB - extraMiB < minFreeMemoryMiB) return 'host memory';
  if (room.diskMiB < minFreeDiskMiB) return 'host disk';
  return undefined;
}
