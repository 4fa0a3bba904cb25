import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { forEachName } from '../../for-each.ts';
import { parseSnapshotRef } from '../../snapshot-ref.ts';

export function addSnapshotRmCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('rm')
    .description('Remove snapshots. One that another snapshot or a VM needs is refused.')
    .argument('<snapshot...>', 'VM/SNAPSHOT')
    .action(
      cli.action(async (invocation, names: string[]) => {
        const refs = names.map(parseSnapshotRef);
        return invocation.withEngine(async (alcove) => {
          // The newest first, whatever the order they are named in: what builds on another goes before it.
          const age = new Map((await alcove.snapshots.list()).map(({ ref }, index) => [ref, index]));
          const ordered = refs.toSorted((a, b) => (age.get(b) ?? -1) - (age.get(a) ?? -1));
          const { done, code } = await forEachName(invocation, ordered, async (ref) => {
            await alcove.snapshots.remove(ref);
            return ref;
          });
          await invocation.show({ removed: done }, () => done.join('\n'));
          return code;
        });
      }),
    );
  addExamples(command, [
    ['alcove snapshot rm web/before', 'For good.'],
    ['alcove snapshot rm $(alcove snapshot ls -q --vm web)', 'All of the VM `web` that nothing needs.'],
  ]);
}
