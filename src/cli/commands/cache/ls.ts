import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { shortKey } from '../../cached/short-key.ts';
import { formatAge, formatBytes, formatElapsed } from '../../human.ts';
import { showList } from '../../show-list.ts';

export function addCacheLsCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('ls')
    .description('List what is cached, most recently used first. TOOK is what a hit saves.')
    .action(
      cli.action(async (invocation) =>
        invocation.withEngine(async (alcove) => {
          const entries = await alcove.cache.list();
          const now = invocation.io.clock.now();
          await showList(invocation, entries, {
            name: (entry) => entry.key,
            empty: 'Nothing is cached. Cache something: alcove run --auto-key -- uname -a',
            columns: [
              { title: 'KEY', value: (entry) => shortKey(entry.key) },
              { title: 'NAME', value: (entry) => entry.name ?? '-' },
              { title: 'SNAPSHOT', value: (entry) => entry.snapshot },
              { title: 'SIZE', value: (entry) => formatBytes(entry.sizeBytes), align: 'right' },
              { title: 'TOOK', value: (entry) => formatElapsed(entry.durationMs), align: 'right' },
              { title: 'HITS', value: (entry) => String(entry.hits), align: 'right' },
              { title: 'USED', value: (entry) => formatAge(entry.lastUsedAtMs, now) },
            ],
          });
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove cache ls', 'What each saves, and when it last did.'],
    ['alcove cache ls -q', 'Only the keys, whole.'],
  ]);
}
