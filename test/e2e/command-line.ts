import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const program = new URL('../../bin/alcove.js', import.meta.url).pathname;

export interface Ended {
  /** Exit code; 128 + signal number when a signal ended it. */
  code: number;
  stdout: string;
  stderr: string;
  /** The most memory the process ever held, in MiB (VmHWM of proc(5), as last seen). */
  peakMiB: number;
  /** Bytes of standard output; `stdout` holds the first MiB. */
  stdoutBytes: number;
}

export interface CliOptions {
  env?: NodeJS.ProcessEnv;
  input?: string;
  /** Called with the process once it runs, e.g. to signal it. */
  onStart?: (child: { pid: number; kill: (signal: NodeJS.Signals) => void }) => void;
}

/** A state directory of its own and the real CLI on it, each command a process. Disposing destroys its VMs and removes it. */
export class CommandLine implements AsyncDisposable {
  readonly stateDir = mkdtempSync(join(tmpdir(), 'cli-'));

  /** Runs `alcove ARGS` to its end. */
  async run(args: readonly string[], options: CliOptions = {}): Promise<Ended> {
    const child = spawn(program, args, {
      env: { ...process.env, ALCOVE_STATE_DIR: this.stateDir, NO_COLOR: '1', ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const { pid } = child;
    if (pid === undefined) throw new Error('the CLI did not start');
    let stdout = '';
    let stderr = '';
    let stdoutBytes = 0;
    let peakMiB = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      stdoutBytes += chunk.length;
      if (stdout.length < 1 << 20) stdout += chunk.toString('utf8');
      peakMiB = Math.max(peakMiB, peakOf(pid));
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString('utf8');
      peakMiB = Math.max(peakMiB, peakOf(pid));
    });
    child.stdin.on('error', () => {}); // A command that reads nothing closes its end.
    child.stdin.end(options.input ?? '');
    options.onStart?.({ pid, kill: (signal) => child.kill(signal) });
    const code = await new Promise<number>((done) =>
      child.once('close', (exit, signal) => done(exit ?? 128 + (signal === 'SIGKILL' ? 9 : 15))),
    );
    return { code, stdout, stderr, peakMiB, stdoutBytes };
  }

  /** Runs a command that must succeed and prints JSON. */
  async json<T>(args: readonly string[]): Promise<T> {
    const ended = await this.run([...args, '--json']);
    if (ended.code !== 0)
      throw new Error(`alcove ${args.join(' ')} exited with ${ended.code}: ${ended.stderr}`);
    return JSON.parse(ended.stdout) as T;
  }

  /** Ids of processes that work for this state directory (its path stands in their command line), the test's own left out. */
  processes(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .filter((pid) => readOrEmpty(`/proc/${pid}/cmdline`).includes(this.stateDir))
      .map(Number);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { id } of await this.json<{ id: string }[]>(['vm', 'ls']))
      await this.run(['vm', 'destroy', id]);
    rmSync(this.stateDir, { recursive: true, force: true });
  }
}

function peakOf(pid: number): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readOrEmpty(`/proc/${pid}/status`))?.[1] ?? 0) / 1024;
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // The process ended while it was looked at.
  }
}
