import { readdirSync, readFileSync } from 'node:fs';
import { identifyProcess, type ProcessIdentity } from '../../host/index.ts';

/**
 * Processes that were started with `-name guest=<name>`, found in `/proc` without any record. The name holds the state directory's
 * digest and the VM's id; who else runs under it on this host pretends.
 */
export function findProcesses(processName: string): ProcessIdentity[] {
  const found: ProcessIdentity[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const pid = Number(entry);
    if (commandLineNames(pid, processName)) {
      const identity = identifyProcess(pid);
      if (identity) found.push(identity);
    }
  }
  return found;
}

/** Whether that process is a QEMU of this name. */
export function commandLineNames(pid: number, processName: string): boolean {
  try {
    const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    const at = args.indexOf('-name');
    // The program may be a wrapper that is about to become QEMU; the name is what counts.
    return at !== -1 && args[at + 1] === `guest=${processName}`;
  } catch {
    return false; // It ended meanwhile.
  }
}
