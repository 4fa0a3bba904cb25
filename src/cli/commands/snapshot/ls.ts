import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { formatAge, formatBytes } from '../../human.ts';
import { showList } from '../../show-list.ts';

/** On snapshots of cached results; see `SnapshotInfo.labels`. */
const cacheLabel = 'alcove.cache';

export function addSnapshotLsCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('ls')
    .description(
      'List snapshots, oldest first, but for those of the cache: `alcove cache ls` has them. OWN is as much of the size as nothing else uses.',
    )
    .option('--vm <id>', 'only those of this VM')
    .option('-a, --all', 'those of the cache, too')
    .action(
      cli.action(async (invocation, { vm, all }: { vm?: string; all?: true }) =>
        invocation.withEngine(async (alcove) => {
          const found = await alcove.snapshots.list(vm === undefined ? {} : { vmId: vm });
          const snapshots = all ? found : found.filter(({ labels }) => labels[cacheLabel] === undefined);
          const hidden = found.length - snapshots.length;
          const now = invocation.io.clock.now();
          await showList(invocation, snapshots, {
            name: (s) => s.ref,
            empty: `No snapshots${vm ? ` of ${vm}` : ''}${hidden > 0 ? `, but ${hidden} of the cache: --all` : ''}. Make one: alcove vm snapshot ${vm ?? 'VM'}`,
            columns: [
              { title: 'SNAPSHOT', value: (s) => s.ref },
              { title: 'KIND', value: (s) => s.kind },
              { title: 'SIZE', value: (s) => formatBytes(s.sizeBytes), align: 'right' },
              { title: 'OWN', value: (s) => formatBytes(s.ownBytes), align: 'right' },
              { title: 'PARENT', value: (s) => s.parent ?? '-' },
              { title: 'CREATED', value: (s) => formatAge(s.createdAtMs, now) },
            ],
          });
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove snapshot ls --vm web', 'Those of the VM `web`.'],
    ['alcove snapshot ls -q', 'Only their names.'],
  ]);
}
