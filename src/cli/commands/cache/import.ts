import { resolve } from 'node:path';
import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { shortKey } from '../../cached/short-key.ts';
import { printable } from '../../printable.ts';
import { readHostFile } from '../../read-host-file.ts';
import { readInput } from '../../read-input.ts';

export function addCacheImportCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('import')
    .description(
      'Take in cached results that were exported, and print their keys. Every byte is compared with the file’s checksums first; one that is damaged leaves nothing. Of a key that is here already, what is here stays.',
    )
    .argument('<file>', 'what `alcove cache export` wrote; - for standard input')
    .action(
      cli.action(async (invocation, file: string) => {
        const { io, call, globals, progress } = invocation;
        return invocation.withEngine(async (alcove) => {
          using input = file === '-' ? readInput(io.stdin) : undefined;
          const report = await alcove.cache.import(input ?? readHostFile(resolve(file)), call);
          progress.end();
          if (globals.format === 'people') {
            const { kept, skipped } = report;
            if (kept.length > 0 && globals.verbosity === 'normal')
              io.stderr.write(`${kept.length} more ${kept.length === 1 ? 'was' : 'were'} here already.\n`);
            for (const { key, why } of skipped)
              io.stderr.write(`${shortKey(key)} was left out: ${printable(why)}.\n`);
          }
          await invocation.show(report, () => report.added.map(({ key }) => key).join('\n'));
          return 0;
        });
      }),
    );
  addExamples(command, [
    ['alcove cache import cache.alcove', 'Then what made these is not run again here.'],
    ['alcove cache import - < cache.alcove', 'From standard input.'],
  ]);
}
