import type { Command } from 'commander';
import type { SessionInfo } from '../../../sessions/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { formatAge } from '../../human.ts';
import { showList } from '../../show-list.ts';

export function addSessionLsCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('ls')
    .description(
      'List sessions. A running one may change at any time: it is backed up only when it is stopped.',
    )
    .action(
      cli.action(async (invocation) =>
        invocation.withEngine(async (alcove) => {
          const sessions = await alcove.sessions.list();
          const now = invocation.io.clock.now();
          await showList(invocation, sessions, {
            name: ({ id }) => id,
            empty: 'No sessions. The first use makes one: alcove session exec ID -- COMMAND',
            columns: [
              { title: 'SESSION', value: ({ id }) => id },
              { title: 'STATUS', value: statusInWords },
              { title: 'MACHINE', value: ({ vmId }) => vmId ?? '-' },
              { title: 'USED', value: ({ usedAtMs }) => formatAge(usedAtMs, now) },
              { title: 'BACKED UP', value: backedUpInWords },
            ],
          });
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove session ls', 'Each with its machine, and when it was last used.'],
    ['alcove session ls -q', 'Only the ids.'],
  ]);
}

function statusInWords({ status, leases, waiting }: SessionInfo): string {
  const use = [leases > 0 && 'in use', waiting > 0 && `${waiting} waiting`].filter(Boolean);
  return use.length > 0 ? `${status} (${use.join(', ')})` : status;
}

function backedUpInWords({ state, failedBackup, newestBackup }: SessionInfo): string {
  if (state === 'backed up') return 'yes';
  if (failedBackup) return `no (failed ${failedBackup.attempts} times)`.replace(/\b1 times/, 'once');
  return newestBackup === undefined ? 'no' : 'an earlier state';
}
