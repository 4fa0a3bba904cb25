import { mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../host/index.ts';
import type { CgroupPlaces } from './cgroup-places.ts';

/** What one QEMU process, its guest included, may use. */
export interface ProcessLimits {
  memoryBytes: number;
  cpus: number;
  /** Threads. */
  tasks: number;
}

const cpuPeriodUs = 100_000;

/** The files to write in a VM's group, by directory. Empty where there are no control groups. */
export function cgroupFiles(
  places: CgroupPlaces,
  name: string,
  limits: ProcessLimits,
): Map<string, Record<string, string>> {
  const quota = Math.round(limits.cpus * cpuPeriodUs);
  if (places.kind === 'v2') {
    return new Map([
      [
        join(places.parent, name),
        {
          'memory.max': String(limits.memoryBytes),
          'pids.max': String(limits.tasks),
          'cpu.max': `${quota} ${cpuPeriodUs}`,
        },
      ],
    ]);
  }
  const files = new Map<string, Record<string, string>>();
  if (places.kind === 'none') return files;
  const byController = {
    memory: { 'memory.limit_in_bytes': String(limits.memoryBytes) },
    pids: { 'pids.max': String(limits.tasks) },
    cpu: { 'cpu.cfs_period_us': String(cpuPeriodUs), 'cpu.cfs_quota_us': String(quota) },
  };
  for (const controller of ['memory', 'pids', 'cpu'] as const) {
    const parent = places.parents[controller];
    // Controllers may be mounted together: then it is one directory with the files of both.
    if (parent !== undefined)
      files.set(join(parent, name), { ...files.get(join(parent, name)), ...byController[controller] });
  }
  return files;
}

/** Makes the groups with their limits; a process is put in by {@link joinCgroups}. */
export function makeCgroups(files: Map<string, Record<string, string>>): void {
  for (const [dir, values] of files) {
    mkdirSync(dir, { recursive: true });
    for (const [file, value] of Object.entries(values)) writeFileSync(join(dir, file), value);
  }
}

export function joinCgroups(dirs: Iterable<string>, pid: number): void {
  for (const dir of dirs) writeFileSync(join(dir, 'cgroup.procs'), String(pid));
}

/** Removes groups whose processes have ended; the kernel may take a moment to see them empty. */
export async function removeCgroups(dirs: Iterable<string>, clock: Clock): Promise<void> {
  for (const dir of dirs) {
    for (let attempt = 0; ; attempt++) {
      try {
        rmdirSync(dir);
        break;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'ENOENT' || code === 'ENOTDIR') break;
        if (code !== 'EBUSY' || attempt >= 100) throw error;
        await clock.sleep(10);
      }
    }
  }
}
