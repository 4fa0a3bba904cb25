import type { Command } from 'commander';
import { type GlobalOptions, readGlobalOptions } from './global-options.ts';
import { createInvocation, type Invocation, type OpenAlcove } from './invocation.ts';
import type { CliIo } from './io.ts';

/** What the commands are built with. */
export interface Cli {
  readonly io: CliIo;
  /** Of the command that was run; `undefined` until its line was parsed. */
  readonly globals: GlobalOptions | undefined;
  readonly exitCode: number;
  /** Makes commander's callback of what a command does; `work` gets its arguments, then its flags, and may return an exit code. */
  action<Args extends unknown[]>(
    work: (invocation: Invocation, ...args: Args) => Promise<number | undefined>,
  ): (...args: [...Args, Command]) => Promise<void>;
}

export interface CliOptions {
  io: CliIo;
  signal: AbortSignal;
  openAlcove: OpenAlcove;
}

export function createCli({ io, signal, openAlcove }: CliOptions): Cli {
  let globals: GlobalOptions | undefined;
  let exitCode = 0;
  return {
    io,
    get globals() {
      return globals;
    },
    get exitCode() {
      return exitCode;
    },
    action<Args extends unknown[]>(
      work: (invocation: Invocation, ...args: Args) => Promise<number | undefined>,
    ) {
      return async (...given: [...Args, Command]) => {
        const command = given.at(-1) as Command;
        globals = readGlobalOptions(command);
        const invocation = createInvocation({ io, globals, signal, openAlcove });
        try {
          exitCode = (await work(invocation, ...(given.slice(0, -1) as Args))) ?? 0;
        } finally {
          invocation.progress.end();
        }
      };
    },
  };
}

/** Examples below a command's help; each a line to type and what it does. */
export function addExamples(command: Command, examples: readonly (readonly [string, string])[]): Command {
  const lines = examples.map(([line, meaning]) => `  $ ${line}\n      ${meaning}`);
  return command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`);
}
