import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { removeEach } from '../../for-each.ts';
import { parseSnapshotRef } from '../../snapshot-ref.ts';

export function addSnapshotRmCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('rm')
    .description('Remove snapshots. One that another snapshot or a VM needs is refused.')
    .argument('<snapshot...>', 'VM/SNAPSHOT')
    .action(
      cli.action(async (invocation, names: string[]) => {
        const refs = names.map(parseSnapshotRef);
        return removeEach(invocation, refs, (alcove, ref) => alcove.snapshots.remove(ref));
      }),
    );
  addExamples(command, [['alcove snapshot rm web/before', 'For good.']]);
}
