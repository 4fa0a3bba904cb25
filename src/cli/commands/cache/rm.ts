import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { forEachName } from '../../for-each.ts';
import { invalidFlag } from '../../invalid-flag.ts';

export function addCacheRmCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('rm')
    .description('Remove cached results with their snapshots. The next run of the same is a miss.')
    .argument('[key...]', 'keys, or as much of their beginning as no other has')
    .option('--all', 'all of them')
    .action(
      cli.action(async (invocation, keys: string[], { all }: { all?: true }) => {
        if (all && keys.length > 0)
          throw invalidFlag('--all', 'keys are given, too', 'Give keys, or --all without any.');
        if (!all && keys.length === 0)
          throw invalidFlag('key', 'none is given', 'Give keys, or --all for everything that is cached.');
        return invocation.withEngine(async (alcove) => {
          if (all) {
            const removed = (await alcove.cache.list()).map(({ key }) => key);
            await alcove.cache.remove(removed);
            await invocation.show({ removed }, () => removed.join('\n'));
            return 0;
          }
          const { done: removed, code } = await forEachName(invocation, keys, async (given) => {
            const { key } = await alcove.cache.inspect(given);
            await alcove.cache.remove([key]);
            return key;
          });
          await invocation.show({ removed }, () => removed.join('\n'));
          return code;
        });
      }),
    );
  addExamples(command, [
    ['alcove cache rm v1:3f2a', 'One of them.'],
    ['alcove cache rm --all', 'As if nothing had ever been run.'],
  ]);
}
