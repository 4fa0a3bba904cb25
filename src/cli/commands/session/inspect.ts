import type { Command } from 'commander';
import type { BootstrapRecord, FailedBackup, SessionDetails } from '../../../sessions/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { formatAge, formatElapsed } from '../../human.ts';
import { printable } from '../../printable.ts';
import { backupColumns } from '../../session/backup-columns.ts';
import { renderFacts, renderTable } from '../../table.ts';

export function addSessionInspectCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('inspect')
    .description('Show all that is known of a session, its backups and what its bootstrap command printed.')
    .argument('<session>', 'id of a session')
    .action(
      cli.action(async (invocation, sessionId: string) =>
        invocation.withEngine(async (alcove) => {
          const session = await alcove.sessions.inspect(sessionId);
          const { io, width } = invocation;
          await invocation.show(session, () => render(session, io.clock.now(), width));
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove session inspect web', 'For people.'],
    ['alcove session inspect web --json', 'For programs.'],
  ]);
}

function render(session: SessionDetails, now: number, width: number | undefined): string {
  const { bootstrap, backups, failedBackup, stoppedAtMs } = session;
  const facts = renderFacts([
    ['id', session.id],
    ['status', session.status],
    ['machine', session.vmId],
    ['created', formatAge(session.createdAtMs, now)],
    ['used', formatAge(session.usedAtMs, now)],
    ['stopped', stoppedAtMs === undefined ? undefined : formatAge(stoppedAtMs, now)],
    ['leases', String(session.leases)],
    ['waiting', String(session.waiting)],
    ['state', session.state],
    ['newest', session.newestBackup],
    ['failed', failedBackup && failureInWords(failedBackup, now)],
    ['bootstrap', bootstrap && `${bootstrap.command.join(' ')} (${formatElapsed(bootstrap.durationMs)})`],
  ]);
  const listed = backups.length > 0 ? [renderTable(backups, backupColumns(now), width)] : [];
  return [facts, ...listed, ...(bootstrap ? outputOf(bootstrap) : [])].join('\n\n');
}

function failureInWords({ attempts, message, atMs, nextAttemptAtMs }: FailedBackup, now: number): string {
  const next =
    nextAttemptAtMs > now ? `in ${formatElapsed(nextAttemptAtMs - now)}` : 'at the next maintenance';
  const times = attempts === 1 ? 'once' : `${attempts} times`;
  return `${times}, last ${formatAge(atMs, now)}: ${message}; tried again ${next}`;
}

function outputOf(bootstrap: BootstrapRecord): string[] {
  return (['stdout', 'stderr'] as const).flatMap((stream) => {
    const text = printable(bootstrap[stream]).trimEnd();
    return text === '' ? [] : [`bootstrap ${stream}\n${text.replace(/^/gm, '  ')}`];
  });
}
