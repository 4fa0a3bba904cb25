import { type Command, Option } from 'commander';
import type { CacheGcReport } from '../../../executor/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { shortKey } from '../../cached/short-key.ts';
import { formatBytes } from '../../human.ts';
import { parseAge } from '../../parse-age.ts';
import { type Column, renderTable } from '../../table.ts';

export function addCacheGcCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('gc')
    .description(
      'Remove cached results over the configured limits, least recently used first, and what runs without a key left behind.',
    )
    .option('-n, --dry-run', 'only say what would go, and why')
    .addOption(
      new Option('--max-age <age>', 'also what was not used for so long, e.g. 30d').argParser((text) =>
        parseAge('--max-age', text),
      ),
    )
    .action(
      cli.action(async (invocation, { dryRun, maxAge }: { dryRun?: true; maxAge?: number }) => {
        const { globals, width } = invocation;
        return invocation.withEngine(async (alcove) => {
          const report = await alcove.cache.gc({
            ...(dryRun && { dryRun }),
            ...(maxAge !== undefined && { unusedForMs: maxAge }),
          });
          await invocation.show(report, () => {
            if (globals.verbosity === 'quiet') return report.removed.map(nameOf).join('\n');
            if (report.removed.length === 0) return 'Nothing to remove.';
            const freed = formatBytes(report.freedBytes);
            const table = renderTable(report.removed, columns, width);
            return `${table}\n\n${dryRun ? `${freed} would be free` : `${freed} freed`}`;
          });
          return 0;
        });
      }),
    );
  addExamples(command, [
    ['alcove cache gc --dry-run', 'What is over the limits.'],
    ['alcove cache gc --max-age 30d', 'Keeps what was used in the last 30 days.'],
  ]);
}

type Removed = CacheGcReport['removed'][number];

const nameOf = ({ key, snapshot }: Removed) => key ?? snapshot;

const columns: Column<Removed>[] = [
  { title: 'KEY', value: ({ key }) => (key === undefined ? '-' : shortKey(key)) },
  { title: 'SNAPSHOT', value: ({ snapshot }) => snapshot },
  { title: 'SIZE', value: ({ sizeBytes }) => formatBytes(sizeBytes), align: 'right' },
  { title: 'WHY', value: ({ why }) => why },
];
