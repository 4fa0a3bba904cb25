import { accessSync, constants, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

/**
 * Where control groups for VMs can be made. `v1`: below the engine's own group in each hierarchy that lets us. `v2`: in the
 * nearest group at or above the engine's that may have children with limits. Either way whatever limits the engine
 * limits its VMs too. `none`: nowhere, and why.
 */
export type CgroupPlaces =
  | { kind: 'v2'; parent: string }
  | { kind: 'v1'; parents: Partial<Record<LimitController, string>> }
  | { kind: 'none'; reason: string };

export const limitControllers = ['memory', 'pids', 'cpu'] as const;
export type LimitController = (typeof limitControllers)[number];

/**
 * @param own content of `/proc/self/cgroup`
 * @param mounts content of `/proc/self/mounts`
 */
export function findCgroupPlaces(own: string, mounts: string, trialName: string): CgroupPlaces {
  const groups = own
    .trim()
    .split('\n')
    .map((line) => /^(\d+):([^:]*):(.*)$/.exec(line))
    .map((match) => ({ controllers: match?.[2]?.split(',') ?? [], path: match?.[3] ?? '/' }));
  const hierarchies = mounts
    .trim()
    .split('\n')
    .map((line) => line.split(' '))
    .map(([, at = '', type = '', options = '']) => ({ at, type, options: options.split(',') }));

  const parents: Partial<Record<LimitController, string>> = {};
  for (const controller of limitControllers) {
    const at = hierarchies.find(({ type, options }) => type === 'cgroup' && options.includes(controller))?.at;
    const path = groups.find(({ controllers }) => controllers.includes(controller))?.path;
    if (at === undefined || path === undefined) continue;
    const parent = resolve(join(at, path));
    if (canHold(parent, trialName)) parents[controller] = parent;
  }
  if (Object.keys(parents).length > 0) return { kind: 'v1', parents };

  const unified = hierarchies.find(({ type }) => type === 'cgroup2')?.at;
  const path = groups.find(({ controllers }) => controllers.join('') === '')?.path;
  if (unified === undefined || path === undefined)
    return { kind: 'none', reason: 'no control groups are mounted' };
  for (let group = resolve(join(unified, path)); group.startsWith(unified); group = dirname(group)) {
    if (canDelegate(group) && canHold(group, trialName)) return { kind: 'v2', parent: group };
    if (group === unified) break;
  }
  return { kind: 'none', reason: `no control group at or above ${path} may be divided by this user` };
}

/** Whether a group can be made here and removed again. */
function canHold(parent: string, trialName: string): boolean {
  const trial = join(parent, trialName);
  try {
    mkdirSync(trial, { recursive: true });
    rmdirSync(trial);
    return true;
  } catch {
    return false;
  }
}

/** Whether children of this group can be given limits; turns the controllers on where it may (cgroups(7)). */
function canDelegate(group: string): boolean {
  const list = (file: string) => readFileSync(join(group, file), 'utf8').trim().split(' ');
  try {
    accessSync(group, constants.W_OK);
    const available = list('cgroup.controllers');
    if (!limitControllers.every((controller) => available.includes(controller))) return false;
    const missing = limitControllers.filter(
      (controller) => !list('cgroup.subtree_control').includes(controller),
    );
    if (missing.length > 0)
      writeFileSync(join(group, 'cgroup.subtree_control'), missing.map((name) => `+${name}`).join(' '));
    return true;
  } catch {
    return false; // EBUSY: processes live in it; EACCES: it is not ours.
  }
}

/** Where groups of that name lie, if they were made from here. */
export function groupsNamed(places: CgroupPlaces, name: string): string[] {
  switch (places.kind) {
    case 'v2':
      return [join(places.parent, name)];
    case 'v1':
      return Object.values(places.parents).map((parent) => join(parent, name));
    case 'none':
      return [];
  }
}
