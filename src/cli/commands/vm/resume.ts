import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { forEachVm } from '../../for-each.ts';

export function addVmResumeCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('resume')
    .description('Let paused VMs go on.')
    .argument('<vm...>', 'ids of VMs')
    .action(
      cli.action((invocation, ids: string[]) =>
        forEachVm(invocation, ids, 'resuming', (vm) => vm.resume(invocation.call)),
      ),
    );
  addExamples(command, [['alcove vm resume web', 'Its processes go on where they were.']]);
}
