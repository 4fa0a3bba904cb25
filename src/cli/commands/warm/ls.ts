import type { Command } from 'commander';
import type { SpareInfo } from '../../../vm/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { formatAge, formatMib } from '../../human.ts';
import { showList } from '../../show-list.ts';

export function addWarmLsCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('ls')
    .description('List the machines that wait, oldest first.')
    .action(
      cli.action(async (invocation) =>
        invocation.withEngine(async (alcove) => {
          const waiting = await alcove.warm.list();
          const now = invocation.io.clock.now();
          await showList(invocation, waiting, {
            name: (spare) => spare.id,
            empty: 'No machine waits. Make one: alcove warm fill builtin',
            columns: [
              { title: 'ID', value: (spare) => spare.id },
              { title: 'FOR', value: purpose },
              { title: 'CPUS', value: (spare) => String(spare.cpus), align: 'right' },
              { title: 'MEMORY', value: (spare) => formatMib(spare.memoryMiB), align: 'right' },
              { title: 'NETWORK', value: (spare) => spare.network },
              { title: 'MADE BY', value: (spare) => spare.filledBy },
              { title: 'CREATED', value: (spare) => formatAge(spare.createdAtMs, now) },
            ],
          });
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove warm ls', 'What they are for.'],
    ['alcove warm ls --json', 'Everything known of them.'],
  ]);
}

function purpose({ kind, image, snapshot }: SpareInfo): string {
  if (kind === 'shape') return 'any image';
  return snapshot ?? image?.reference ?? kind;
}
