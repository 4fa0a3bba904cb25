import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { forEachVm } from '../../for-each.ts';

export function addVmStartCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('start')
    .description('Start VMs that are created or stopped, and print their ids.')
    .argument('<vm...>', 'ids of VMs')
    .action(
      cli.action((invocation, ids: string[]) =>
        forEachVm(invocation, ids, 'starting', (vm) => vm.start(invocation.call)),
      ),
    );
  addExamples(command, [['alcove vm start web', 'Commands can run in it when this returns.']]);
}
