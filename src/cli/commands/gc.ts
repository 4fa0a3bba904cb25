import { type Command, Option } from 'commander';
import type { GarbageOptions } from '../../vm/index.ts';
import { addExamples, type Cli } from '../action.ts';
import { formatBytes, shortDigest } from '../human.ts';
import { invalidFlag } from '../invalid-flag.ts';
import type { Invocation } from '../invocation.ts';
import { parseAge } from '../parse-age.ts';
import { renderTable } from '../table.ts';

interface GcFlags {
  dryRun?: true;
  maxAge?: number;
  all?: true;
  images?: true;
}

export function addGcCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('gc')
    .description(
      'Remove what nothing needs: leftovers of crashes, damaged snapshots, snapshots that only a fork needed, and templates, caches and kernels that were not used for a week. Snapshots you took and images stay.',
    )
    .option('-n, --dry-run', 'only say what would go, and why')
    .addOption(
      new Option(
        '--max-age <age>',
        'how long templates, caches and kernels stay unused, e.g. 30d (default: 7d)',
      ).argParser((text) => parseAge('--max-age', text)),
    )
    .option('--all', 'templates, caches and kernels that nothing needs, however lately they were used')
    .option('--images', 'images that no VM and no snapshot needs, too')
    .action(cli.action(collectGarbage));
  addExamples(command, [
    ['alcove gc --dry-run', 'What would go, why, and what that gives back.'],
    ['alcove gc --max-age 30d', 'Keeps what was used in the last 30 days.'],
    ['alcove gc --all --images', 'As little as possible stays.'],
  ]);
}

async function collectGarbage(
  invocation: Invocation,
  { dryRun, maxAge, all, images }: GcFlags,
): Promise<number> {
  if (all && maxAge !== undefined)
    throw invalidFlag('--all', 'it means any age, so --max-age says nothing', 'Leave one of them out.');
  const unusedForMs = all ? 0 : maxAge;
  const options: GarbageOptions = {
    ...(dryRun && { dryRun }),
    ...(unusedForMs !== undefined && { unusedForMs }),
    ...(images && { images: 'remove' }),
  };
  const { io, call, globals, progress, width } = invocation;
  return invocation.withEngine(async (alcove) => {
    const report = await alcove.collectGarbage({ ...call, ...options });
    progress.end();
    if (globals.format === 'people')
      for (const { kind, name, because } of report.kept)
        io.stderr.write(`${kind} ${name} stays: ${because}\n`);
    await invocation.show(report, () => {
      if (globals.verbosity === 'quiet') return report.removed.map(({ name }) => name).join('\n');
      const freed = formatBytes(report.freedBytes);
      if (report.removed.length === 0) return 'Nothing to remove.';
      const table = renderTable(report.removed, columns, width);
      return `${table}\n\n${dryRun ? `${freed} would be free` : `${freed} freed`}`;
    });
    return 0;
  });
}

type Item = { kind: string; name: string; why: string; bytes: number };

const columns = [
  { title: 'KIND', value: ({ kind }: Item) => kind },
  { title: 'NAME', value: ({ name }: Item) => shortDigest(name) },
  { title: 'SIZE', value: ({ bytes }: Item) => formatBytes(bytes), align: 'right' as const },
  { title: 'WHY', value: ({ why }: Item) => why },
];
