import type { Command } from 'commander';
import type { Vm } from '../../engine/alcove.ts';
import { isAlcoveError } from '../../errors.ts';
import { addExamples, type Cli } from '../action.ts';
import type { Invocation } from '../invocation.ts';
import { runOnStreams } from '../run-on-streams.ts';
import { runOnTerminal } from '../run-on-terminal.ts';

export function addShellCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('shell')
    .description(
      'Open a shell in a running VM: /bin/bash where it has one, else /bin/sh. Exits with the shell’s code.',
    )
    .argument('<vm>', 'id of a running VM')
    .action(cli.action(shell));
  addExamples(command, [
    ['alcove shell web', 'On a terminal.'],
    ['echo "df -h /" | alcove shell web', 'Without one: runs what it reads.'],
  ]);
}

async function shell(invocation: Invocation, vmId: string): Promise<number> {
  const interactive = { interactive: true } as const;
  return invocation.withEngine(async (alcove) => {
    const vm = await alcove.vm(vmId);
    const request = { command: [await shellOf(vm, invocation.signal)] } as const;
    if (invocation.io.terminal.isTerminal('stdin')) {
      return await runOnTerminal(vm, request, invocation, interactive);
    }
    const { exitCode } = await runOnStreams(invocation, interactive, (streams) =>
      vm.exec({ ...request, ...streams }),
    );
    return exitCode;
  });
}

async function shellOf(vm: Vm, signal: AbortSignal): Promise<string> {
  try {
    await vm.files.stat('/bin/bash', { signal });
    return '/bin/bash';
  } catch (error) {
    if (isAlcoveError(error, 'GuestFile')) return '/bin/sh';
    throw error;
  }
}
