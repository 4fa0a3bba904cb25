import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { environmentOption } from '../../command-options.ts';
import { parseSnapshotRef } from '../../snapshot-ref.ts';
import { labelOption, type MemoryChoice, memoryOption } from '../../vm-options.ts';

interface RestoreFlags {
  id?: string;
  env?: Record<string, string>;
  label?: Record<string, string>;
  start?: true;
  memory?: MemoryChoice;
}

export function addVmRestoreCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('restore')
    .description('Make a VM from a snapshot and print its id. The snapshot stays and can be restored again.')
    .argument('<snapshot>', 'VM/SNAPSHOT')
    .option('--id <id>', 'id of the new VM (default: made up)')
    .option('--start', 'start it, too')
    .addOption(memoryOption('whether it goes on from the snapshot’s memory, or boots from its disk'))
    .addOption(environmentOption(cli.io))
    .addOption(labelOption())
    .action(
      cli.action(async (invocation, name: string, { id, env, label, memory, start }: RestoreFlags) => {
        const ref = parseSnapshotRef(name);
        return invocation.withEngine(async (alcove) => {
          const spec = {
            ...(id !== undefined && { id }),
            ...(env !== undefined && { env }),
            ...(label !== undefined && { labels: label }),
            ...(memory && { memory }),
          };
          const vm = await alcove.restore(ref, spec, invocation.call);
          if (start) await vm.start(invocation.call);
          await invocation.show(await vm.info(), () => vm.id);
          return 0;
        });
      }),
    );
  addExamples(command, [
    [
      'alcove vm restore web/before --id web-2 --start',
      'Goes on where `web` was then; boots from its disk if it did not run.',
    ],
  ]);
}
