import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { environmentOption } from '../../command-options.ts';
import { addVmOptions, type VmFlags, vmSpecOf } from '../../vm-options.ts';

interface CreateFlags extends VmFlags {
  id?: string;
  env?: Record<string, string>;
  start?: true;
}

export function addVmCreateCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('create')
    .description('Make a VM and print its id. It stays until it is destroyed.')
    .option('--id <id>', 'its id: small letters, digits and hyphens (default: made up)')
    .option('--start', 'start it, too')
    .addOption(environmentOption(cli.io));
  addVmOptions(command).action(
    cli.action(async (invocation, { id, env, start, ...flags }: CreateFlags) =>
      invocation.withEngine(async (alcove) => {
        const spec = {
          ...vmSpecOf(flags),
          ...(id !== undefined && { id }),
          ...(env !== undefined && { env }),
        };
        const vm = await alcove.create(spec, invocation.call);
        if (start) await vm.start(invocation.call);
        await invocation.show(await vm.info(), () => vm.id);
        return 0;
      }),
    ),
  );
  addExamples(command, [
    ['alcove vm create --id web --start', 'The built-in image, running.'],
    ['alcove vm create --image debian:12 --cpus 2 --memory 1G --network user', 'Made, not started.'],
  ]);
}
