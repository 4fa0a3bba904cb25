import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { environmentOption } from '../../command-options.ts';
import { parseSnapshotRef } from '../../snapshot-ref.ts';
import { labelOption } from '../../vm-options.ts';

interface RestoreFlags {
  id?: string;
  env?: Record<string, string>;
  label?: Record<string, string>;
  start?: true;
}

export function addVmRestoreCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('restore')
    .description('Make a VM from a snapshot and print its id. The snapshot stays and can be restored again.')
    .argument('<snapshot>', 'VM/SNAPSHOT')
    .option('--id <id>', 'id of the new VM (default: made up)')
    .option('--start', 'start it, too')
    .addOption(environmentOption(cli.io))
    .addOption(labelOption())
    .action(
      cli.action(async (invocation, name: string, { id, env, label, start }: RestoreFlags) => {
        const ref = parseSnapshotRef(name);
        return invocation.withEngine(async (alcove) => {
          const spec = {
            ...(id !== undefined && { id }),
            ...(env !== undefined && { env }),
            ...(label !== undefined && { labels: label }),
          };
          const vm = await alcove.restore(ref, spec, invocation.call);
          if (start) await vm.start(invocation.call);
          await invocation.show(await vm.info(), () => vm.id);
          return 0;
        });
      }),
    );
  addExamples(command, [
    ['alcove vm restore web/before --id web-2 --start', 'Boots with the disk that `web` had then.'],
  ]);
}
