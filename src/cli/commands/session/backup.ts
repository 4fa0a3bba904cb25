import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { forEachSession } from '../../session/for-each-session.ts';

export function addSessionBackupCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('backup')
    .description(
      'Back up /work of sessions as it is at one instant, also while they are in use, and print the names of the backups. `backup_destination` of the configuration says where they go.',
    )
    .argument('<session...>', 'ids of sessions')
    .action(
      cli.action((invocation, ids: string[]) =>
        forEachSession(invocation, ids, 'backing up', async ({ sessions }, id) => {
          const backup = await sessions.backup(id, invocation.call);
          return { name: backup.name, result: backup };
        }),
      ),
    );
  addExamples(command, [
    ['alcove session backup web', 'Prints the name of what it made.'],
    ['alcove session backup $(alcove session ls -q)', 'All of them.'],
  ]);
}
