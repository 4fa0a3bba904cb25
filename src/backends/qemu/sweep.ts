import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { type Clock, isAlive, type ProcessIdentity } from '../../host/index.ts';
import { removeCgroups } from './cgroup-limits.ts';
import { type CgroupPlaces, findCgroupPlaces, groupsNamed } from './cgroup-places.ts';
import { killProcess } from './end-process.ts';
import { commandLineNames, findProcesses } from './find-processes.ts';
import { readRunRecord, removeRunRecord } from './run-record.ts';
import type { VmPlaces } from './vm-places.ts';

/** The processes of a VM that are alive: the one on record when it still is that one, and any that bears its name. */
export function vmProcesses(places: VmPlaces): ProcessIdentity[] {
  const recorded = readRunRecord(places.runPath)?.process;
  if (recorded && isAlive(recorded) && commandLineNames(recorded.pid, places.processName)) return [recorded];
  return findProcesses(places.processName);
}

/** Ends every process of a VM, and removes its sockets, control groups and run record. Needs no record; idempotent. */
export async function sweep(places: VmPlaces, clock: Clock): Promise<void> {
  const recorded = readRunRecord(places.runPath);
  const processes = findProcesses(places.processName);
  await Promise.all(processes.map((identity) => killProcess(identity, clock)));
  await tidy(
    places,
    [...(recorded?.cgroups ?? []), ...groupsNamed(currentPlaces(), places.cgroupName)],
    clock,
  );
}

/** Removes what is left of a machine whose process has ended. */
export async function tidy(places: VmPlaces, cgroups: readonly string[], clock: Clock): Promise<void> {
  await removeCgroups(new Set(cgroups), clock);
  await rm(places.socketDir, { recursive: true, force: true });
  removeRunRecord(places.runPath);
}

/** Control groups of this host as they can be seen now. */
export function currentPlaces(): CgroupPlaces {
  try {
    return findCgroupPlaces(
      readFileSync('/proc/self/cgroup', 'utf8'),
      readFileSync('/proc/self/mounts', 'utf8'),
      `alcove-trial-${process.pid}`,
    );
  } catch {
    return { kind: 'none', reason: '/proc does not say where they are' };
  }
}
