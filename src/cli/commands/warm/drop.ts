import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { removeEach } from '../../for-each.ts';
import { invalidFlag } from '../../invalid-flag.ts';

export function addWarmDropCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('drop')
    .description('End machines that wait.')
    .argument('[id...]', 'ids of machines that wait')
    .option('--all', 'all of them')
    .action(
      cli.action(async (invocation, ids: string[], { all }: { all?: true }) => {
        if (all && ids.length > 0)
          throw invalidFlag('--all', 'ids are given, too', 'Give ids, or --all without any.');
        if (!all && ids.length === 0)
          throw invalidFlag('id', 'none is given', 'Give ids, or --all for every machine that waits.');
        if (!all) return removeEach(invocation, ids, (alcove, id) => alcove.warm.drop([id]));
        return invocation.withEngine(async (alcove) => {
          const removed = (await alcove.warm.list()).map(({ id }) => id);
          await alcove.warm.drop();
          await invocation.show({ removed }, () => removed.join('\n'));
          return 0;
        });
      }),
    );
  addExamples(command, [['alcove warm drop --all', 'Gives their memory back.']]);
}
