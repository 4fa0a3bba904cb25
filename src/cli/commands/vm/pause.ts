import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { forEachVm } from '../../for-each.ts';

export function addVmPauseCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('pause')
    .description('Pause running VMs: they keep their memory and use no processor.')
    .argument('<vm...>', 'ids of VMs')
    .action(
      cli.action((invocation, ids: string[]) =>
        forEachVm(invocation, ids, 'pausing', (vm) => vm.pause(invocation.call)),
      ),
    );
  addExamples(command, [['alcove vm pause web', 'Goes on with `alcove vm resume web`.']]);
}
