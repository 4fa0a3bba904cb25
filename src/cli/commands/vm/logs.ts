import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';

export function addVmLogsCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('logs')
    .description('Print the last part of a VM’s console, of this run or the last one.')
    .argument('<vm>', 'id of a VM')
    .action(
      cli.action(async (invocation, vmId: string) =>
        invocation.withEngine(async (alcove) => {
          const vm = await alcove.vm(vmId);
          const text = await vm.console();
          await invocation.show({ id: vm.id, console: text }, () => text.replace(/\n$/, ''));
          return 0;
        }),
      ),
    );
  addExamples(command, [['alcove vm logs web', 'What its kernel and agent said.']]);
}
