import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { formatAge, formatMib } from '../../human.ts';
import { showList } from '../../show-list.ts';
import { labelOption } from '../../vm-options.ts';

interface LsFlags {
  all?: true;
  label?: Record<string, string>;
}

export function addVmLsCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('ls')
    .description('List VMs.')
    .option('-a, --all', 'those that were destroyed lately, too')
    .addOption(labelOption())
    .action(
      cli.action(async (invocation, { all, label }: LsFlags) =>
        invocation.withEngine(async (alcove) => {
          const vms = await alcove.list({
            ...(label !== undefined && { labels: label }),
            destroyed: all ? 'include' : 'leave-out',
          });
          const now = invocation.io.clock.now();
          await showList(invocation, vms, {
            name: (vm) => vm.id,
            empty: label ? 'No VM has these labels.' : 'No VMs. Make one: alcove vm create --start',
            columns: [
              { title: 'ID', value: (vm) => vm.id },
              { title: 'STATUS', value: (vm) => (vm.reason ? `${vm.status} (${vm.reason})` : vm.status) },
              { title: 'IMAGE', value: (vm) => vm.image.reference },
              { title: 'CPUS', value: (vm) => String(vm.cpus), align: 'right' },
              { title: 'MEMORY', value: (vm) => formatMib(vm.memoryMiB), align: 'right' },
              { title: 'NETWORK', value: (vm) => vm.network },
              { title: 'CREATED', value: (vm) => formatAge(vm.createdAtMs, now) },
            ],
          });
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove vm ls', 'Running, paused, stopped and created ones.'],
    ['alcove vm ls -q --label job=7', 'Only the ids of those that have a label.'],
    ['alcove vm ls --json', 'Everything known of them.'],
  ]);
}
