import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { exitCode } from '../../exit-code.ts';
import { printable } from '../../printable.ts';

export function addSessionMaintainCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('maintain')
    .description(
      'Stop the sessions that are idle, back up and remove what is due, as the configuration says. To be run now and then, by cron, where no engine stays open.',
    )
    .action(
      cli.action(async (invocation) =>
        invocation.withEngine(async (alcove) => {
          const { call, globals, io, progress } = invocation;
          progress.step('maintaining the sessions');
          const report = await alcove.sessions.runMaintenanceNow(call);
          const { stopped, backedUp, pruned, failed } = report;
          await invocation.show(report, () =>
            [
              ...stopped.map((id) => `stopped ${id}`),
              ...backedUp.map((id) => `backed up ${id}`),
              ...pruned.map((id) => `removed the machine of ${id}`),
            ].join('\n'),
          );
          if (globals.format === 'people') {
            for (const { sessionId, what, message } of failed)
              io.stderr.write(`session ${sessionId}, ${what}: ${printable(message)}; it is tried again.\n`);
          }
          return failed.length > 0 ? exitCode.failed : exitCode.ok;
        }),
      ),
    );
  addExamples(command, [
    ['alcove session maintain', 'Says what it did; nothing when nothing was due.'],
    ['* * * * * alcove session maintain -q --lock-wait 50s', 'As a line of a crontab.'],
  ]);
}
