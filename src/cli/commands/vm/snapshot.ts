import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { type MemoryChoice, memoryOption } from '../../vm-options.ts';

export function addVmSnapshotCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('snapshot')
    .description(
      'Keep a VM as it is now, and print the snapshot’s name: its disk, and while it runs or is paused its memory too, so that what is made from it goes on where it was. The VM goes on as before.',
    )
    .argument('<vm>', 'id of a VM')
    .option('--id <id>', 'id of the snapshot, unique for the VM (default: made up)')
    .addOption(memoryOption('whether memory is kept, where there is any'))
    .action(
      cli.action(async (invocation, vmId: string, { id, memory }: { id?: string; memory?: MemoryChoice }) =>
        invocation.withEngine(async (alcove) => {
          const vm = await alcove.vm(vmId);
          const snapshot = await vm.snapshot({
            ...invocation.call,
            ...(id !== undefined && { id }),
            ...(memory && { memory }),
          });
          await invocation.show(snapshot, () => snapshot.ref);
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove vm snapshot web --memory exclude', 'The disk alone: smaller, and restorable on any host.'],
    ['alcove vm snapshot web --id before', 'Prints web/before.'],
    ['alcove vm restore web/before --id web-2 --start', 'Makes a VM that goes on from there.'],
  ]);
}
