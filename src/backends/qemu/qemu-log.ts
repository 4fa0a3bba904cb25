import { openSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';

/** What QEMU itself says on standard output and error, in a file of its VM. */
const maxLogBytes = 256 * 1024;

/** A new log, for a process to append to: so it can be cut while it is written. */
export function openLog(path: string): number {
  rmSync(path, { force: true });
  return openSync(path, 'ax', 0o600);
}

/** Empties a log that has grown too long. */
export function boundLog(path: string): void {
  try {
    if (statSync(path).size > maxLogBytes) truncateSync(path);
  } catch {
    // The VM is being removed.
  }
}

/** The last lines of a log. */
export function lastLogLines(path: string): string {
  try {
    return readFileSync(path, 'utf8').slice(-4096).trim().split('\n').slice(-5).join('\n');
  } catch {
    return '';
  }
}
