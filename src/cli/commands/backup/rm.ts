import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { removeEach } from '../../for-each.ts';

export function addBackupRmCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('rm')
    .description('Remove backups. One that is all that is left of a session is refused.')
    .argument('<backup...>', 'names of backups')
    .action(
      cli.action((invocation, names: string[]) =>
        removeEach(invocation, names, ({ sessions }, name) => sessions.backups.remove(name)),
      ),
    );
  addExamples(command, [
    ['alcove backup rm web-20260102T030405Z.tar.zst', 'For good.'],
    ['alcove backup rm $(alcove backup ls -q web | tail -n +2)', 'All of a session but the newest.'],
  ]);
}
