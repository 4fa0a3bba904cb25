import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { forEachName } from '../../for-each.ts';

export function addBackupVerifyCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('verify')
    .description(
      'Read every byte of backups and compare it with what was recorded; print the names of those that are right. A restore does so, too.',
    )
    .argument('<backup...>', 'names of backups')
    .action(
      cli.action(async (invocation, names: string[]) =>
        invocation.withEngine(async (alcove) => {
          const { done, code } = await forEachName(invocation, names, (name) => {
            invocation.progress.step(`verifying ${name}`);
            return alcove.sessions.backups.verify(name, invocation.call);
          });
          await invocation.show(done, () => done.map(({ name }) => name).join('\n'));
          return code;
        }),
      ),
    );
  addExamples(command, [
    ['alcove backup verify web-20260102T030405Z.tar.zst', 'Says what is wrong with it, if anything is.'],
    ['alcove backup verify $(alcove backup ls -q)', 'All of them.'],
  ]);
}
