import type { Command } from 'commander';
import { addExamples, type Cli } from '../action.ts';
import { addCommandOptions, type CommandFlags, execRequestOf } from '../command-options.ts';
import { invalidFlag } from '../invalid-flag.ts';
import type { Invocation } from '../invocation.ts';
import { runOnStreams } from '../run-on-streams.ts';
import { runOnTerminal } from '../run-on-terminal.ts';

export function addExecCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('exec')
    .description('Run a command in a running VM. Exits as `alcove run` does.')
    .usage('[options] VM -- COMMAND [ARGUMENT…]')
    .argument('<vm>', 'id of a running VM')
    .argument('<command...>', 'program and arguments')
    .passThroughOptions();
  addCommandOptions(command, cli.io).action(cli.action(exec));
  addExamples(command, [
    ['alcove exec web -- ps', 'In the VM `web`.'],
    ['alcove exec -e LANG=C -w /srv -u nobody web -- ls -l', 'With its environment, directory and user.'],
    ['tar c . | alcove exec -i web -- tar x -C /srv', 'With standard input.'],
    ['alcove exec -it web -- /bin/sh', 'On a terminal; `alcove shell web` is shorter.'],
  ]);
}

async function exec(
  invocation: Invocation,
  vmId: string,
  given: string[],
  flags: CommandFlags,
): Promise<number> {
  // Options end at the VM's id, so commander leaves the `--` behind it to us.
  const words = given[0] === '--' ? given.slice(1) : given;
  if (words === given && words[0]?.startsWith('-')) {
    throw invalidFlag(
      'command',
      `"${words[0]}" is not a command`,
      `Options stand before the VM: alcove exec ${words[0]} … ${vmId} -- COMMAND`,
    );
  }
  const request = execRequestOf(words, flags);
  return invocation.withEngine(async (alcove) => {
    const vm = await alcove.vm(vmId);
    if (flags.tty) return await runOnTerminal(vm, request, invocation, flags);
    const { exitCode } = await runOnStreams(invocation, flags, (streams) =>
      vm.exec({ ...request, ...streams }),
    );
    return exitCode;
  });
}
