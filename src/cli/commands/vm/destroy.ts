import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { forEachVm } from '../../for-each.ts';

export function addVmDestroyCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('destroy')
    .description('Destroy VMs with their disks. Their snapshots stay.')
    .argument('<vm...>', 'ids of VMs')
    .action(
      cli.action((invocation, ids: string[]) =>
        forEachVm(invocation, ids, 'destroying', (vm) => vm.destroy(invocation.call)),
      ),
    );
  addExamples(command, [
    ['alcove vm destroy web', 'For good.'],
    ['alcove vm destroy $(alcove vm ls -q --label job=7)', 'All that have a label.'],
  ]);
}
