import { AlcoveError, cancelled } from '../errors.ts';
import type { ExecRequest, ExecResult, GuestProcess } from '../guest/index.ts';
import type { RuntimeContext } from './runtime-context.ts';
import type { RunOptions } from './vm.ts';

type Spawn = (request: ExecRequest, options: { signal?: AbortSignal }) => Promise<GuestProcess>;

/** Runs a command to its end, keeping its output within the cap. */
export async function runToEnd(
  context: RuntimeContext,
  command: RunOptions,
  spawn: Spawn,
): Promise<ExecResult> {
  const { signal, maxOutputBytes = 1 << 20, onStdout, onStderr, input, nonZeroExit, ...request } = command;
  if (signal?.aborted) throw cancelled('a command', signal);
  const began = context.clock.monotonic();
  await using process = await spawn(
    { ...request, ...(input !== undefined && { stdin: 'pipe' as const }) },
    signal ? { signal } : {},
  );
  const [stdout, stderr, exit] = await Promise.all([
    collect(process.stdout, maxOutputBytes, onStdout),
    collect(process.stderr, maxOutputBytes, onStderr),
    process.exited,
    feed(process, input),
  ]);
  if (exit.timedOut) {
    const timeoutMs = request.timeoutMs ?? context.clock.monotonic() - began;
    throw new AlcoveError('CommandTimedOut', `the command did not end within ${timeoutMs} ms`, {
      details: { timeoutMs, stdout: stdout.bytes, stderr: stderr.bytes },
    });
  }
  const dropped = stdout.dropped + stderr.dropped + exit.droppedBytes;
  const result: ExecResult = {
    exitCode: exit.exitCode,
    ...(exit.signal !== undefined && { signal: exit.signal }),
    stdout: Buffer.from(stdout.bytes).toString('utf8'),
    stderr: Buffer.from(stderr.bytes).toString('utf8'),
    truncated: dropped > 0,
    droppedBytes: dropped,
    durationMs: exit.durationMs,
  };
  if (exit.exitCode !== 0 && nonZeroExit === 'error') {
    throw new AlcoveError('CommandFailed', `the command ended with ${exit.exitCode}`, {
      details: { ...result },
    });
  }
  return result;
}

async function feed(process: GuestProcess, input: RunOptions['input']): Promise<void> {
  if (input === undefined) return;
  try {
    if (typeof input === 'string' || input instanceof Uint8Array)
      await process.stdin.write(Buffer.from(input));
    else for await (const chunk of input) await process.stdin.write(chunk);
    await process.stdin.end();
  } catch {
    // The command stopped reading; its exit says why.
  }
}

async function collect(
  stream: AsyncIterable<Uint8Array>,
  max: number,
  tell: ((chunk: Uint8Array) => void | Promise<void>) | undefined,
): Promise<{ bytes: Uint8Array; dropped: number }> {
  const half = Math.floor(max / 2);
  const head: Uint8Array[] = [];
  let headSize = 0;
  let tail: Buffer = Buffer.alloc(0);
  let total = 0;
  for await (const chunk of stream) {
    await tell?.(chunk);
    total += chunk.length;
    const toHead = Math.min(chunk.length, max - half - headSize);
    head.push(chunk.subarray(0, toHead));
    headSize += toHead;
    if (toHead < chunk.length)
      tail = Buffer.from(Buffer.concat([tail, chunk.subarray(toHead)]).subarray(-half));
  }
  const dropped = total - headSize - tail.length;
  const mark = dropped > 0 ? [Buffer.from(`\n[… ${dropped} bytes left out …]\n`)] : [];
  return { bytes: Buffer.concat([...head, ...mark, tail]), dropped };
}
