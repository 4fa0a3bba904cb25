import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, closeSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { AlcoveError } from '../../errors.ts';
import { identifyProcess, type ProcessIdentity, toolMissing, toolPath } from '../../host/index.ts';
import { cgroupFiles, joinCgroups, makeCgroups } from './cgroup-limits.ts';
import { type CgroupPlaces, type LimitController, limitControllers } from './cgroup-places.ts';
import { type MachinePlan, machineArgs, translationMiB } from './machine-args.ts';
import { machineFacts } from './machine-facts.ts';
import type { QemuHost } from './probe-host.ts';
import { lastLogLines, openLog } from './qemu-log.ts';
import { type RunRecord, writeRunRecord } from './run-record.ts';
import { MiB } from './sizes.ts';
import type { MachinePlaces } from './vm-places.ts';

/** A process that was started here, so that its end is told with a cause. */
export interface SpawnedQemu {
  identity: ProcessIdentity;
  cgroups: string[];
  /** Resolves with how it ended, in words: `exit code 1`, `SIGKILL`. */
  exit: Promise<string>;
}

/** QEMU itself, its devices, its worker threads' stacks and its caches, beside the guest's memory. */
const overheadMiB = 192;
/** Mapped and never touched: libraries, stacks, arenas. Seen: 790 MB of address space for a guest of 256 MiB. */
const addressSpaceMiB = 1024;
/** vCPU threads, the main loop, and at most 64 workers for file operations. */
const maxTasks = 128;
/** Devices are emulated beside the vCPUs. */
const deviceCpus = 0.5;

/** What a QEMU for this plan may use in all. */
function processLimits(plan: MachinePlan) {
  const translation = plan.accelerator === 'tcg' ? translationMiB : 0;
  return {
    memoryBytes: (plan.shape.memoryMiB + overheadMiB + translation) * MiB,
    cpus: plan.shape.cpus + deviceCpus,
    tasks: maxTasks + plan.shape.cpus,
  };
}

/** Makes the directory of a machine that is about to be, in place of one that was. */
export function makeMachineDir({ dir, jail }: MachinePlaces): void {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  mkdirSync(jail);
  // Searchable for the machine's user, writable for nobody but the engine.
  chmodSync(jail, 0o711);
}

/**
 * Starts QEMU in a session of its own, so that it outlives the engine, inside its control groups. The intent is on disk before
 * the process exists: whatever is there after a crash is found again.
 *
 * @param statePath of the device state that `loadState` will be asked for
 * @throws AlcoveError `ToolMissing`, `BackendUnavailable` when control groups that the probe found do not take it
 */
export async function spawnQemu(host: QemuHost, plan: MachinePlan, statePath?: string): Promise<SpawnedQemu> {
  const { places } = plan;
  const groups = cgroupFiles(host.cgroups, places.cgroupName, processLimits(plan));
  const cgroups = [...groups.keys()];
  const record: RunRecord = {
    version: 2,
    name: places.name,
    phase: 'starting',
    process: null,
    uid: plan.dropTo ?? null,
    facts: machineFacts(plan.shape, plan.accelerator, plan.qemu),
    identity: null,
    lastLayer: null,
    sealed: false,
    cgroups,
    confinement: describeConfinement(host, plan),
  };
  writeRunRecord(places.runPath, record);
  rmSync(places.socketDir, { recursive: true, force: true });
  mkdirSync(places.socketDir, { recursive: true, mode: 0o700 });
  inCgroups(() => makeCgroups(groups));

  const [program, args] = limitedCommand(host, plan);
  const log = openLog(places.logPath);
  const files = [log];
  let child: ChildProcess;
  try {
    if (statePath !== undefined) files.push(openSync(statePath, 'r'));
    child = spawn(program, args, {
      cwd: places.jail,
      env: { PATH: toolPath(), LC_ALL: 'C' },
      detached: true,
      stdio: ['ignore', log, log, ...files.slice(1)],
    });
  } finally {
    for (const file of files) closeSync(file);
  }
  const exit = watchExit(child);
  const { pid } = child;
  const identity = pid === undefined ? undefined : identifyProcess(pid);
  if (pid === undefined || !identity) throw await failedSpawn(program, plan, exit);
  child.unref();
  writeRunRecord(places.runPath, { ...record, process: identity });
  inCgroups(() => joinCgroups(cgroups, pid));
  preferAsVictim(pid);
  return { identity, cgroups, exit };
}

/**
 * The command line with the process's own limits for what no control group limits: on its address space instead of its
 * memory, and on its user's processes. For processor time there is nothing like it.
 */
export function limitedCommand(host: QemuHost, plan: MachinePlan): [program: string, args: string[]] {
  const args = machineArgs(plan);
  const grouped = groupedControllers(host.cgroups);
  const { memoryBytes, tasks } = processLimits(plan);
  const limits: string[] = [];
  if (!grouped.includes('memory')) limits.push(`--as=${memoryBytes + addressSpaceMiB * MiB}`, '--core=0');
  // Counted per user: of use only where a VM has one of its own.
  if (!grouped.includes('pids') && plan.dropTo !== undefined) limits.push(`--nproc=${tasks}`);
  if (limits.length === 0) return [host.programs.system, args];
  return ['prlimit', [...limits, '--', host.programs.system, ...args]];
}

/** Which confinement a plan brings, for people. */
function describeConfinement(host: QemuHost, plan: MachinePlan): Record<string, string> {
  return {
    seccomp: 'on',
    user: plan.dropTo === undefined ? "the engine's own" : String(plan.dropTo),
    root: plan.dropTo === undefined ? 'the whole file system' : "the VM's disk only",
    limits: describeLimits(host),
  };
}

/** What limits a VM's process, for people: `cgroup v2: memory, pids, cpu`, and whatever is less. */
export function describeLimits({ cgroups, uids }: Pick<QemuHost, 'cgroups' | 'uids'>): string {
  const grouped = groupedControllers(cgroups);
  const [memory, pids, cpu] = limitControllers.map((name) => grouped.includes(name));
  const own = [...(memory ? [] : ['address space']), ...(!pids && uids ? ['processes'] : [])];
  const none = [...(pids || uids ? [] : ['processes']), ...(cpu ? [] : ['CPU'])];
  const why = cgroups.kind === 'none' ? ` (${cgroups.reason})` : '';
  return [
    ...(grouped.length > 0 ? [`cgroup ${cgroups.kind}: ${grouped.join(', ')}`] : []),
    ...(own.length > 0 ? [`prlimit: ${own.join(', ')}`] : []),
    ...(none.length > 0 ? [`no limit on ${none.join(', ')}${why}`] : []),
  ].join('; ');
}

function groupedControllers(cgroups: CgroupPlaces): readonly LimitController[] {
  if (cgroups.kind === 'none') return [];
  return cgroups.kind === 'v2' ? limitControllers : limitControllers.filter((name) => cgroups.parents[name]);
}

function watchExit(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
}

async function failedSpawn(program: string, plan: MachinePlan, exit: Promise<string>): Promise<AlcoveError> {
  const how = await exit;
  if (how.includes('ENOENT')) return toolMissing(program);
  const said = lastLogLines(plan.places.logPath);
  return new AlcoveError('VmFailed', `QEMU did not start (${how}): ${said || 'it said nothing'}`);
}

function inCgroups(work: () => void): void {
  try {
    work();
  } catch (cause) {
    throw new AlcoveError(
      'BackendUnavailable',
      `the VM's limits on memory, processes and CPU cannot be set: ${(cause as Error).message}`,
      { cause, remedy: 'Run `alcove doctor`; control groups that worked before do not work now.' },
    );
  }
}

/** When the host runs out of memory, a VM goes before the engine and its neighbours. */
function preferAsVictim(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, '500');
  } catch {
    // It ended already; its exit tells why.
  }
}
