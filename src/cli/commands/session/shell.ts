import { type Command, Option } from 'commander';
import { AlcoveError, isAlcoveError } from '../../../errors.ts';
import { addExamples, type Cli } from '../../action.ts';
import { invalidFlag } from '../../invalid-flag.ts';
import type { Invocation } from '../../invocation.ts';
import { openShell, type SessionShell, type ShellEnd } from '../../session/session-shell.ts';
import { type LeaseFlags, waitOption, withLease } from '../../session/with-lease.ts';

interface ShellFlags extends LeaseFlags {
  name?: string;
}

export function addSessionShellCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('shell')
    .description(
      'Open a terminal in a session, which is made on first use. Ctrl-] detaches: the shell runs on, and the next `session shell` finds it as it was left. When the shell ends, its exit code is this command’s.',
    )
    .argument('<session>', 'id of a session')
    .addOption(
      new Option('--name <name>', 'which of its shells; a session may have several')
        .argParser((text) => {
          if (/^[a-z0-9][a-z0-9-]{0,55}$/.test(text)) return text;
          throw invalidFlag('--name', `"${text}" is not a name; write it with a-z, 0-9 and -`);
        })
        .helpGroup('Session:'),
    )
    .addOption(waitOption())
    .action(cli.action(shell));
  addExamples(command, [
    ['alcove session shell web', 'A shell in the session `web`; the same again next time.'],
    ['alcove session shell web --name logs', 'A second one beside it.'],
  ]);
}

async function shell(invocation: Invocation, sessionId: string, flags: ShellFlags): Promise<number> {
  const { name, ...lease } = flags;
  if (!invocation.io.terminal.isTerminal('stdin')) {
    throw new AlcoveError('InvalidInput', 'a shell needs a terminal, and standard input is none', {
      details: { field: 'stdin' },
      remedy: `Run a command in place of it: alcove session exec ${sessionId} -- COMMAND`,
    });
  }
  const commandId = name === undefined ? 'shell' : `shell-${name}`;
  const again = `alcove session shell ${sessionId}${name === undefined ? '' : ` --name ${name}`}`;
  return invocation.withEngine((alcove) =>
    withLease(invocation, alcove, { ...lease, sessionId, mode: 'shared' }, async (held) => {
      await using opened = await openShell(held, commandId, invocation);
      const where = opened.is === 'new' ? 'a new shell in' : 'back in the shell of';
      say(invocation, `${where} session ${sessionId}; Ctrl-] detaches, and it runs on`);
      const end = await connected(invocation, opened, again);
      if (end.how === 'exited') return end.exitCode;
      const why = end.how === 'detached' ? 'detached' : 'another terminal has this shell now';
      say(invocation, `\n${why}; it runs on. Come back with: ${again}`);
      return 0;
    }),
  );
}

/** A signal detaches, too: says so before it ends the CLI. */
async function connected(invocation: Invocation, shell: SessionShell, again: string): Promise<ShellEnd> {
  try {
    return await shell.connect();
  } catch (error) {
    if (isAlcoveError(error, 'Cancelled'))
      say(invocation, `\ndetached; it runs on. Come back with: ${again}`);
    throw error;
  }
}

/** @param text begins with a line break where the cursor may stand in the middle of a line */
function say({ io, globals, progress }: Invocation, text: string): void {
  progress.end();
  if (globals.verbosity === 'quiet' || globals.format === 'json') return;
  io.stderr.write(text.replace(/^(\n?)(.*)$/s, '$1alcove: $2\n'));
}
