import type { Invocation } from '../invocation.ts';
import { writeStream } from '../write-stream.ts';

/** Passes a command's output on, and knows how to say something after it. */
export interface CommandOutput {
  write(stream: 'stdout' | 'stderr', chunk: Uint8Array): Promise<void>;
  /** Writes a line to standard error, on a line of its own also where the command left its last one open. */
  say(line: string): void;
}

const newline = 10;

export function createCommandOutput({ io, progress, signal }: Invocation): CommandOutput {
  let lineIsOpen = false;
  return {
    write(stream, chunk) {
      progress.end();
      // What goes to a file or a pipe leaves nothing on the screen.
      if (chunk.length > 0 && io.terminal.isTerminal(stream)) lineIsOpen = chunk.at(-1) !== newline;
      return writeStream(io[stream], chunk, signal);
    },
    say(line) {
      progress.end();
      io.stderr.write(`${lineIsOpen && io.terminal.isTerminal('stderr') ? '\n' : ''}${line}\n`);
      lineIsOpen = false;
    },
  };
}
