import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { backupColumns } from '../../session/backup-columns.ts';
import { showList } from '../../show-list.ts';

export function addBackupLsCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('ls')
    .description('List backups, newest first.')
    .argument('[session]', 'only those of this session')
    .action(
      cli.action(async (invocation, sessionId: string | undefined) =>
        invocation.withEngine(async (alcove) => {
          const backups = await alcove.sessions.backups.list(sessionId === undefined ? {} : { sessionId });
          const what = sessionId === undefined ? 'No backups' : `No backups of session ${sessionId}`;
          await showList(invocation, backups, {
            name: ({ name }) => name,
            empty: `${what}. Make one: alcove session backup ${sessionId ?? 'ID'}`,
            columns: backupColumns(invocation.io.clock.now()),
          });
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove backup ls', 'Of all sessions.'],
    ['alcove backup ls web -q', 'The names of those of one.'],
  ]);
}
