import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { AlcoveError, cancelled } from '../errors.ts';

/** Debian package that brings each external program Alcove may start. */
export const toolPackages: Readonly<Record<string, string>> = {
  'qemu-system-x86_64': 'qemu-system-x86',
  'qemu-img': 'qemu-utils',
  'mkfs.ext4': 'e2fsprogs',
  mksquashfs: 'squashfs-tools',
  prlimit: 'util-linux',
  skopeo: 'skopeo',
  'dpkg-deb': 'dpkg',
  'apt-get': 'apt',
  'apt-cache': 'apt',
  tar: 'tar',
  xz: 'xz-utils',
};

export interface ToolOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  signal?: AbortSignal;
  /** Fed to standard input; back-pressure is honoured. */
  input?: AsyncIterable<Uint8Array> | Readable;
  /** @default 1 MiB: more output than this is cut at the front */
  maxOutputBytes?: number;
}

export interface ToolResult {
  stdout: string;
  stderr: string;
}

/**
 * Runs an external program to its end, in its own process group, with bounded output.
 *
 * @throws AlcoveError `ToolMissing`, `ToolFailed` (non-zero exit, with the last lines it said), `Cancelled` (the
 * whole group is killed first).
 */
export async function runTool(
  tool: string,
  args: readonly string[],
  options: ToolOptions = {},
): Promise<ToolResult> {
  const { signal } = options;
  if (signal?.aborted) throw cancelled(tool, signal);
  const child = spawn(tool, args, {
    cwd: options.cwd,
    env: { LC_ALL: 'C', PATH: toolPath(), ...(options.env ?? { HOME: process.env.HOME }) },
    detached: true,
    stdio: [options.input ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  const max = options.maxOutputBytes ?? 1 << 20;
  const stdout = keepTail(child.stdout, max);
  const stderr = keepTail(child.stderr, max);
  const onAbort = () => killGroup(child);
  signal?.addEventListener('abort', onAbort, { once: true });
  const feeding = options.input && child.stdin ? feed(child, options.input) : Promise.resolve(undefined);
  try {
    const [code, killedBy] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    const feedError = await feeding;
    if (signal?.aborted) throw cancelled(tool, signal);
    if (code !== 0) {
      const said = lastLines(stderr() || stdout());
      throw new AlcoveError(
        'ToolFailed',
        `${tool} ended with ${code ?? killedBy}: ${said || 'it said nothing'}`,
        {
          details: { tool, exitCode: code, signal: killedBy, stderr: said },
          cause: feedError,
        },
      );
    }
    if (feedError) throw feedError;
    return { stdout: stdout(), stderr: stderr() };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw toolMissing(tool, error);
    throw error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

/** The typed error for a program that is not installed. */
export function toolMissing(tool: string, cause?: unknown): AlcoveError<'ToolMissing'> {
  const debianPackage = toolPackages[tool];
  return new AlcoveError('ToolMissing', `the program ${tool} is not installed`, {
    ...(debianPackage && { remedy: `Install it: apt-get install ${debianPackage}` }),
    details: { tool, package: debianPackage },
    cause,
  });
}

/** The search path for tools: administration folders too, which a user's PATH may lack (`mkfs.ext4`). */
export function toolPath(): string {
  const own = process.env.PATH ?? '/usr/bin:/bin';
  return `${own}:/usr/local/sbin:/usr/sbin:/sbin`;
}

/** Writes the input to the child; resolves with the source's error, if it had one, after ending the child. */
async function feed(child: ChildProcess, input: AsyncIterable<Uint8Array>): Promise<unknown> {
  const { stdin } = child;
  if (!stdin) return undefined;
  let broken = false;
  stdin.on('error', () => {
    broken = true; // The program stopped reading; its exit code says why.
  });
  try {
    for await (const chunk of input) {
      if (broken || stdin.destroyed) break; // A program that has ended takes no more, and says so only by its exit.
      if (!stdin.write(chunk) && !stdin.destroyed) await roomIn(stdin);
    }
    stdin.end();
    return undefined;
  } catch (error) {
    killGroup(child);
    return error;
  }
}

/** Waits until a stream takes more, or never will. */
function roomIn(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      for (const event of ['drain', 'close', 'error']) stream.off(event, done);
      resolve();
    };
    for (const event of ['drain', 'close', 'error']) stream.on(event, done);
  });
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    child.kill('SIGKILL'); // The group is gone already; the child itself may not be.
  }
}

function keepTail(stream: Readable | null, max: number): () => string {
  let chunks: Buffer[] = [];
  let size = 0;
  stream?.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size > 2 * max) {
      const tail = Buffer.concat(chunks).subarray(-max);
      chunks = [Buffer.from(tail)];
      size = tail.length;
    }
  });
  return () => Buffer.concat(chunks).subarray(-max).toString('utf8');
}

function lastLines(text: string): string {
  return text.trim().split('\n').slice(-5).join('\n');
}
