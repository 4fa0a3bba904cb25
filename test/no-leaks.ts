/** Fails the run when the tests leave a process, socket, mount or file behind. Loaded once by Vitest, around everything. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Gives the run its own places for sockets and files; whatever mentions them afterwards was left behind by it. */
export async function setup(): Promise<() => Promise<void>> {
  // Every project of the run loads this; the first one watches over all.
  if (process.env.ALCOVE_TEST_WATCHED) return async () => {};
  process.env.ALCOVE_TEST_WATCHED = 'yes';
  const runtime = mkdtempSync('/tmp/alcove-rt-'); // Short, because the path of a socket must be.
  const temporary = mkdtempSync(join(tmpdir(), 'alcove-tests-'));
  process.env.XDG_RUNTIME_DIR = runtime;
  process.env.TMPDIR = temporary;
  return async () => {
    const ours = (text: string) => text.includes(runtime) || text.includes(temporary);
    const left = [
      ...processesThatMention(ours).map((name) => `process ${name}`),
      ...readFileSync('/proc/self/mounts', 'utf8').split('\n').filter(ours),
      ...filesBelow(runtime),
      ...readdirSync(temporary).map((name) => join(temporary, name)),
    ];
    if (left.length > 0) throw new Error(`the tests left behind:\n  ${left.join('\n  ')}`);
    rmSync(runtime, { recursive: true });
    rmSync(temporary, { recursive: true });
  };
}

function processesThatMention(ours: (text: string) => boolean): string[] {
  const found: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const command = readProc(pid, 'cmdline').replaceAll('\0', ' ');
    const isTestRun =
      Number(pid) === process.pid || readProc(pid, 'stat').split(' ')[3] === String(process.pid);
    if (!isTestRun && ours(command + readProc(pid, 'environ'))) found.push(`${pid} ${command.slice(0, 160)}`);
  }
  return found;
}

function readProc(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return ''; // It ended while it was looked at.
  }
}

function filesBelow(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name));
}
