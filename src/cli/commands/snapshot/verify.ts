import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { forEachName } from '../../for-each.ts';
import { parseSnapshotRef } from '../../snapshot-ref.ts';

export function addSnapshotVerifyCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('verify')
    .description(
      'Read every byte of snapshots and compare it with what was recorded; print the names of those that are right. A restore reads only what looks as if it had been changed.',
    )
    .argument('<snapshot...>', 'VM/SNAPSHOT')
    .action(
      cli.action(async (invocation, names: string[]) => {
        const refs = names.map(parseSnapshotRef);
        return invocation.withEngine(async (alcove) => {
          const { done, code } = await forEachName(invocation, refs, (ref) =>
            alcove.snapshots.verify(ref, invocation.call),
          );
          await invocation.show(done, () => done.map(({ ref }) => ref).join('\n'));
          return code;
        });
      }),
    );
  addExamples(command, [
    ['alcove snapshot verify web/before', 'Names the file that is damaged, if one is.'],
    ['alcove snapshot verify $(alcove snapshot ls -q)', 'All of them.'],
  ]);
}
