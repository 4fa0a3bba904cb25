import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { cachePolicyOf } from '../../cached/cache-options.ts';
import { cachedActionOf, checkRunFlags } from '../../cached/cached-action.ts';
import { renderExplanation } from '../../explanation/render-explanation.ts';
import { invalidFlag } from '../../invalid-flag.ts';
import type { Invocation } from '../../invocation.ts';
import { addRunOptions, type RunFlags } from '../../run-options.ts';

export function addCacheExplainCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('explain')
    .description(
      'Say what `alcove run` with these flags would do now, a hit or a miss, and why: what is different from the most similar run before. Without --cache it is --auto-key that is meant. Runs nothing.',
    )
    .usage('[options of run] -- COMMAND [ARGUMENT…]')
    .argument('<command...>', 'program and arguments')
    .passThroughOptions();
  addRunOptions(command, cli.io);
  command.option('--all-changes', 'each input that changed, however many').action(cli.action(explain));
  addExamples(command, [
    ['alcove cache explain --inject . -- sh build.sh', 'Which file changed since the last build?'],
    ['alcove cache explain --cache nightly --ttl 1d -- ./fetch.sh', 'Is it still fresh?'],
  ]);
}

async function explain(
  invocation: Invocation,
  words: string[],
  flags: RunFlags & { allChanges?: true },
): Promise<number> {
  if (words[0]?.startsWith('-')) throw invalidFlag('command', `"${words[0]}" is not a command`);
  // Who asks why means a run that is cached; one with neither flag is not.
  const policy = cachePolicyOf({ ...(flags.cache === undefined && { autoKey: true }), ...flags });
  checkRunFlags(flags, policy);
  const { signal, style, width, io } = invocation;
  return invocation.withEngine(async (alcove) => {
    const explanation = await alcove.explain(cachedActionOf(words, flags), policy, { signal });
    await invocation.show(explanation, () =>
      renderExplanation(explanation, {
        now: io.clock.now(),
        style,
        width,
        ...(flags.allChanges && { mostChanges: Number.POSITIVE_INFINITY }),
      }),
    );
    return 0;
  });
}
