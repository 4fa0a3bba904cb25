import { existsSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { invalidFlag } from '../../invalid-flag.ts';

export function addSessionRestoreCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('restore')
    .description(
      'Give a session, or a new one, the /work of a backup, in a new machine. All of it is verified and in place before anything is replaced.',
    )
    .argument('<session>', 'id of a session')
    .addOption(
      new Option(
        '--from <backup>',
        'name of a backup, or path of a .tar.zst (default: its newest backup)',
      ).argParser(backupOrPath),
    )
    .action(
      cli.action(async (invocation, sessionId: string, { from }: { from?: string }) =>
        invocation.withEngine(async (alcove) => {
          invocation.progress.step(`restoring ${sessionId}`);
          const info = await alcove.sessions.restore(sessionId, {
            ...invocation.call,
            ...(from !== undefined && { from }),
          });
          await invocation.show(info, () => info.id);
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove session restore web', 'As in its newest backup.'],
    [
      'alcove session restore copy --from web-20260102T030405Z.tar.zst',
      'Another session with the same files.',
    ],
    ['alcove session restore web --from ./work.tar.zst', 'From what `tar --zstd -c` wrote.'],
  ]);
}

/** A file here goes before a backup of the same name: who stands beside it means it. */
function backupOrPath(text: string): string {
  if (text === '') throw invalidFlag('--from', 'the name is empty');
  return !text.includes('/') && existsSync(text) ? `./${text}` : text;
}
