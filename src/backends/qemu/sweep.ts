import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Clock, isAlive, type ProcessIdentity } from '../../host/index.ts';
import { removeCgroups } from './cgroup-limits.ts';
import { type CgroupPlaces, findCgroupPlaces, groupsNamed } from './cgroup-places.ts';
import { killProcess } from './end-process.ts';
import { commandLineNames, findProcesses } from './find-processes.ts';
import { readRunRecord } from './run-record.ts';
import { type MachinePlaces, machinePlaces, type NamingStateDir } from './vm-places.ts';

/** The machine in a directory: by its run record, or by the name it has when nothing is recorded. */
export function machineIn(stateDir: NamingStateDir, dir: string, otherwise: string): MachinePlaces {
  return machinePlaces(stateDir, readRunRecord(join(dir, 'run.json'))?.name ?? otherwise, dir);
}

/** The processes of a machine that are alive: the one on record when it still is that one, and any that bears its name. */
export function machineProcesses(places: MachinePlaces): ProcessIdentity[] {
  const recorded = readRunRecord(places.runPath)?.process;
  if (recorded && isAlive(recorded) && commandLineNames(recorded.pid, places.processName)) return [recorded];
  return findProcesses(places.processName);
}

/** Ends every process of a machine, and removes its sockets, control groups and directory. Needs no record; idempotent. */
export async function sweep(places: MachinePlaces, clock: Clock): Promise<void> {
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
export async function tidy(places: MachinePlaces, cgroups: readonly string[], clock: Clock): Promise<void> {
  await removeCgroups(new Set(cgroups), clock);
  await rm(places.socketDir, { recursive: true, force: true });
  await rm(places.dir, { recursive: true, force: true });
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
