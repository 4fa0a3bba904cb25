import { type Command, Option } from 'commander';
import { AlcoveError } from '../errors.ts';
import type { ExecRequest } from '../guest/index.ts';
import { invalidFlag } from './invalid-flag.ts';
import type { CliIo } from './io.ts';
import { addEnvironment } from './parse-assignment.ts';
import { parsePositiveDuration } from './parse-duration.ts';

/** The flags of a command in a guest, of `alcove run` and `alcove exec`. */
export interface CommandFlags {
  env?: Record<string, string>;
  workdir?: string;
  user?: string;
  timeout?: number;
  interactive?: true;
  tty?: true;
}

export function addCommandOptions(command: Command, io: Pick<CliIo, 'env'>): Command {
  const flags = [
    environmentOption(io),
    new Option('-w, --workdir <dir>', 'absolute directory in the VM').argParser((text) => {
      if (!text.startsWith('/')) throw invalidFlag('--workdir', `"${text}" is not an absolute path`);
      return text;
    }),
    new Option('-u, --user <user>', 'name, uid, name:group or uid:gid, as known in the VM'),
    new Option(
      '--timeout <time>',
      'end the command and all it started after e.g. 30s or 5m; exit 124',
    ).argParser((text) => parsePositiveDuration('--timeout', text)),
    new Option('-i, --interactive', 'pass on standard input'),
    new Option('-t, --tty', 'run on a terminal'),
  ];
  for (const flag of flags) command.addOption(flag.helpGroup('Command:'));
  return command;
}

/** `-e K=V`, repeated. */
export function environmentOption({ env }: Pick<CliIo, 'env'>): Option {
  return new Option(
    '-e, --env <k=v>',
    'an environment variable; K alone passes on yours; may be repeated',
  ).argParser((text, before: Record<string, string> | undefined) =>
    addEnvironment('--env', text, env, before),
  );
}

/** The request for `words` under these flags. @throws AlcoveError `InvalidInput` when there are none */
export function execRequestOf(words: readonly string[], flags: CommandFlags): ExecRequest {
  const [program, ...args] = words;
  if (program === undefined) {
    throw new AlcoveError('InvalidInput', 'no command given', {
      details: { field: 'command' },
      remedy: 'Write it after --, e.g. alcove run -- uname -a',
    });
  }
  const { env, workdir, user, timeout } = flags;
  return {
    command: [program, ...args],
    ...(env !== undefined && { env }),
    ...(workdir !== undefined && { cwd: workdir }),
    ...(user !== undefined && { user }),
    ...(timeout !== undefined && { timeoutMs: timeout }),
  };
}
