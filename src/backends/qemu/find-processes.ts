import { readdirSync, readFileSync } from 'node:fs';
import { identifyProcess, type ProcessIdentity } from '../../host/index.ts';

/**
 * Processes that were started with `-name guest=<name>`, found in `/proc` without any record. The name holds the state directory's
 * digest and the VM's id; who else runs under it on this host pretends.
 */
export function findProcesses(processName: string): ProcessIdentity[] {
  return namedProcesses(processName).flatMap(({ pid, name }) =>
    name === processName ? (identifyProcess(pid) ?? []) : [],
  );
}

/** Every process whose name begins so. */
export function namedProcesses(prefix: string): { pid: number; name: string }[] {
  const pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry));
  return pids.map(Number).flatMap((pid) => {
    const name = nameOf(pid);
    return name?.startsWith(prefix) ? { pid, name } : [];
  });
}

/** Whether that process is a QEMU of this name. */
export function commandLineNames(pid: number, processName: string): boolean {
  return nameOf(pid) === processName;
}

function nameOf(pid: number): string | undefined {
  try {
    const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    const at = args.indexOf('-name');
    // The program may be a wrapper that is about to become QEMU; the name is what counts.
    return at === -1 ? undefined : /^guest=(.*)$/.exec(args[at + 1] ?? '')?.[1];
  } catch {
    return undefined; // It ended meanwhile.
  }
}
