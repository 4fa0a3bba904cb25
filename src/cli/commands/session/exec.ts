import { type Command, Option } from 'commander';
import type { ExecRequest } from '../../../guest/index.ts';
import type { Lease } from '../../../sessions/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { addCommandOptions, type CommandFlags, execRequestOf } from '../../command-options.ts';
import { invalidFlag } from '../../invalid-flag.ts';
import type { Invocation } from '../../invocation.ts';
import { runOnStreams } from '../../run-on-streams.ts';
import { runOnTerminal } from '../../run-on-terminal.ts';
import { shellLine } from '../../session/shell-line.ts';
import { type LeaseFlags, waitOption, withLease } from '../../session/with-lease.ts';

interface ExecFlags extends CommandFlags, LeaseFlags {
  shared?: true;
  background?: true;
}

export function addSessionExecCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('exec')
    .description(
      'Run a command in a session, which is made on first use. It runs in /work, by the session’s shell: a single argument is a shell line as it is, several arrive at the program as they are given. Exits as `alcove run` does.',
    )
    .usage('[options] SESSION -- COMMAND [ARGUMENT…]')
    .argument('<session>', 'id of a session')
    .argument('<command...>', 'a shell line; or a program and its arguments')
    .passThroughOptions();
  addCommandOptions(command, cli.io)
    .addOption(
      new Option(
        '--background',
        'what it leaves running in the background runs on, also while the session is suspended',
      ).helpGroup('Command:'),
    )
    .addOption(new Option('--shared', 'beside others that do so, too').helpGroup('Session:'))
    .addOption(waitOption())
    .action(cli.action(exec));
  addExamples(command, [
    ['alcove session exec web -- \'git clone -q "$URL" . && make\'', 'A shell line.'],
    ['alcove session exec web -- grep -r "a b" .', 'A program; its arguments arrive as they are.'],
    ['alcove session exec -it web -- vi notes', 'On a terminal.'],
    ['alcove session exec --background web -- "./server > log 2>&1 &"', 'Leaves a server running.'],
  ]);
}

async function exec(
  invocation: Invocation,
  sessionId: string,
  given: string[],
  flags: ExecFlags,
): Promise<number> {
  // Options end at the session's id, so commander leaves the `--` behind it to us.
  const words = given[0] === '--' ? given.slice(1) : given;
  if (words === given && words[0]?.startsWith('-')) {
    throw invalidFlag(
      'command',
      `"${words[0]}" is not a command`,
      `Options stand before the session: alcove session exec ${words[0]} … ${sessionId} -- COMMAND`,
    );
  }
  const request: ExecRequest = {
    ...execRequestOf(words, flags),
    command: shellLine(words),
    ...(flags.background && { background: 'keep' }),
  };
  const mode = flags.shared ? 'shared' : 'exclusive';
  const { wait } = flags;
  return invocation.withEngine((alcove) =>
    withLease(
      invocation,
      alcove,
      { sessionId, mode, ...(wait !== undefined && { wait }) },
      async (lease): Promise<number> => {
        if (flags.tty) return await runOnTerminal(asVm(lease), request, invocation, flags);
        const { command, ...options } = request;
        const { exitCode } = await runOnStreams(invocation, flags, (streams) =>
          lease.exec(command as string, { ...options, ...streams }),
        );
        return exitCode;
      },
    ),
  );
}

/** Its commands run by the session's shell, with its environment and directory. */
function asVm(lease: Lease): Parameters<typeof runOnTerminal>[0] {
  return {
    spawn: ({ command, ...options }, call) => lease.spawn(command as string, { ...options, ...call }),
  };
}
