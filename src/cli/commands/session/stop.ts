import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { forEachSession } from '../../session/for-each-session.ts';

export function addSessionStopCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('stop')
    .description(
      'Stop the machines of sessions, as configured: with their memory, so that processes go on at the next use, or only with their disks. One that is in use is refused.',
    )
    .argument('<session...>', 'ids of sessions')
    .option('--shutdown', 'only the disk is kept; processes end')
    .action(
      cli.action((invocation, ids: string[], { shutdown }: { shutdown?: true }) =>
        forEachSession(invocation, ids, 'stopping', async ({ sessions }, id) => {
          await sessions.stop(id, { ...invocation.call, ...(shutdown && { mode: 'shutdown' }) });
          const { bootstrap, backups, ...info } = await sessions.inspect(id);
          return { name: info.id, result: info };
        }),
      ),
    );
  addExamples(command, [
    ['alcove session stop web', 'As when a lid is closed: the next use goes on from there.'],
    ['alcove session stop --shutdown web', 'As when a machine is shut down: its files are kept.'],
  ]);
}
