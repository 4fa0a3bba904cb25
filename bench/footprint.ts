/** What something that runs takes of the host for itself alone. */
import { lstatSync, readdirSync, readFileSync, readlinkSync, type Stats } from 'node:fs';
import { join } from 'node:path';

/** Memory that goes when the process goes, in MiB: what it shares with others is not counted. From `/proc/PID/smaps_rollup`, proc(5). */
export function privateMemoryMiB(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kilobytes = ['Private_Clean', 'Private_Dirty', 'Swap'].map((name) => {
    const [, value] = new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(rollup) ?? [];
    if (value === undefined) throw new Error(`process ${pid}: smaps_rollup has no ${name}`);
    return Number(value);
  });
  return kilobytes.reduce((sum, value) => sum + value, 0) / 1024;
}

/** Processes that work in a directory or below it. */
export function processesIn(dir: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => `${workingDir(pid)}/`.startsWith(`${dir}/`))
    .map(Number);
}

export function parentOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The command name may hold spaces and parentheses; fields are counted after its last parenthesis.
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}

/** Blocks of a directory that go when it goes, in MiB: files with a name elsewhere too are not counted. */
export function ownDiskMiB(dir: string): number {
  const files = new Map<number, { stats: Stats; names: number }>();
  for (const name of ['.', ...readdirSync(dir, { recursive: true, encoding: 'utf8' })]) {
    const stats = lstatSync(join(dir, name));
    const names = (files.get(stats.ino)?.names ?? 0) + 1;
    files.set(stats.ino, { stats, names });
  }
  let blocks = 0;
  for (const { stats, names } of files.values())
    if (stats.isDirectory() || stats.nlink === names) blocks += stats.blocks;
  return (blocks * 512) / 2 ** 20;
}

function workingDir(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return ''; // It has ended, or is not ours to look at.
  }
}

/** The most memory that a process had at once, in MiB; `undefined` when it has ended. See VmHWM in proc(5). */
export function peakMemoryMiB(pid: number): number | undefined {
  try {
    const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return kilobytes === undefined ? undefined : Number(kilobytes) / 1024;
  } catch {
    return undefined;
  }
}
