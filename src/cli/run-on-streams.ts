import type { RunOptions } from '../vm/index.ts';
import type { CommandFlags } from './command-options.ts';
import type { Invocation } from './invocation.ts';
import { readInput } from './read-input.ts';
import { writeStream } from './write-stream.ts';

type Streams = Pick<RunOptions, 'signal' | 'stdin' | 'input' | 'onStdout' | 'onStderr'>;

/**
 * Connects a command's streams to the process's while `run` lasts: output goes out raw as fast as its reader takes it,
 * input comes in with `-i`.
 */
export async function runOnStreams<T>(
  { io, signal, progress }: Invocation,
  flags: Pick<CommandFlags, 'interactive'>,
  run: (streams: Streams) => Promise<T>,
): Promise<T> {
  using input = flags.interactive ? readInput(io.stdin) : undefined;
  return await run({
    signal,
    ...(input && { stdin: 'pipe', input }),
    onStdout: (chunk) => {
      progress.end();
      return writeStream(io.stdout, chunk, signal);
    },
    onStderr: (chunk) => {
      progress.end();
      return writeStream(io.stderr, chunk, signal);
    },
  });
}
