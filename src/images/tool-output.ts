import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';
import { AlcoveError, cancelled } from '../errors.ts';
import { toolMissing, toolPath } from '../host/index.ts';

export interface ToolOutputOptions {
  signal?: AbortSignal | undefined;
  /** Fed to standard input; back-pressure is honoured. */
  input?: AsyncIterable<Uint8Array>;
}

/**
 * Runs an external program and gives its standard output as it comes, bytes as they are, with back-pressure. A reader that
 * stops early ends the program; nothing of it is left when the iteration is over.
 *
 * @throws AlcoveError `ToolMissing`, `ToolFailed` (at the end of the output), `Cancelled`; what the input threw
 */
export async function* toolOutput(
  tool: string,
  args: readonly string[],
  options: ToolOutputOptions = {},
): AsyncGenerator<Buffer> {
  const { signal, input } = options;
  if (signal?.aborted) throw cancelled(tool, signal);
  const child = spawn(tool, args, {
    env: { LC_ALL: 'C', PATH: toolPath() },
    stdio: [input ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close').then(
    ([code, killedBy]) => ({ code: code as number | null, killedBy: killedBy as string | null }),
    (error: unknown) => ({ failed: error }),
  );
  const kill = () => child.kill('SIGKILL');
  signal?.addEventListener('abort', kill, { once: true });
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk).slice(-4096);
  });
  let inputError: unknown;
  const fed =
    input && child.stdin
      ? pipeline(input, child.stdin).catch((error: NodeJS.ErrnoException) => {
          // A program that stops reading says why by its exit code.
          if (error.code === 'EPIPE' || error.code === 'ERR_STREAM_PREMATURE_CLOSE') return;
          inputError = error;
          kill();
        })
      : undefined;
  try {
    if (child.stdout) yield* child.stdout as AsyncIterable<Buffer>;
    const end = await closed;
    await fed;
    if (signal?.aborted) throw cancelled(tool, signal);
    if (inputError) throw inputError;
    if ('failed' in end) {
      if ((end.failed as NodeJS.ErrnoException).code === 'ENOENT') throw toolMissing(tool, end.failed);
      throw end.failed;
    }
    if (end.code !== 0) {
      throw new AlcoveError(
        'ToolFailed',
        `${tool} ended with ${end.code ?? end.killedBy}: ${said.trim() || 'it said nothing'}`,
        { details: { tool, exitCode: end.code, signal: end.killedBy, stderr: said } },
      );
    }
  } finally {
    signal?.removeEventListener('abort', kill);
    kill();
    await closed;
    await fed;
  }
}
