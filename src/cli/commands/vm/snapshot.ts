import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';

export function addVmSnapshotCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('snapshot')
    .description(
      'Keep the disk of a VM as it is now, and print the snapshot’s name. Memory is not kept yet: what is made from a snapshot boots. The VM goes on as before.',
    )
    .argument('<vm>', 'id of a VM')
    .option('--id <id>', 'id of the snapshot, unique for the VM (default: made up)')
    .action(
      cli.action(async (invocation, vmId: string, { id }: { id?: string }) =>
        invocation.withEngine(async (alcove) => {
          const vm = await alcove.vm(vmId);
          const snapshot = await vm.snapshot({ ...invocation.call, ...(id !== undefined && { id }) });
          await invocation.show(snapshot, () => snapshot.ref);
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove vm snapshot web --id before', 'Prints web/before.'],
    ['alcove vm restore web/before --id web-2 --start', 'Makes a VM with that disk, and boots it.'],
  ]);
}
