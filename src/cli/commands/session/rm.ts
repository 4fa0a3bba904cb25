import type { Command } from 'commander';
import type { Sessions } from '../../../sessions/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { forEachName } from '../../for-each.ts';
import type { Invocation } from '../../invocation.ts';

export function addSessionRmCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('rm')
    .description(
      'End sessions: their machines are removed, backed up or not. Their backups stay, and the next use of the id starts from the newest. One that is in use is refused.',
    )
    .argument('<session...>', 'ids of sessions')
    .option('--backups', 'their backups, too: nothing is left')
    .action(cli.action(rm));
  addExamples(command, [
    ['alcove session rm web', 'Says how many backups stay.'],
    ['alcove session rm web --backups', 'For good.'],
  ]);
}

async function rm(invocation: Invocation, given: string[], { backups }: { backups?: true }): Promise<number> {
  const { progress, call } = invocation;
  return invocation.withEngine(async ({ sessions }) => {
    const { done, code } = await forEachName(invocation, given, async (name) => {
      progress.step(`removing ${name}`);
      if (backups && (await removeWhatStayed(sessions, name))) return { id: name, backups: [] };
      const { id } = await sessions.inspect(name);
      await sessions.terminate(id, { ...call, backups: backups ? 'remove' : 'keep' });
      const left = await sessions.backups.list({ sessionId: id });
      return { id, backups: left.map((backup) => backup.name) };
    });
    for (const { id, backups } of done) sayWhatStays(invocation, id, backups.length);
    await invocation.show({ removed: done }, () => done.map(({ id }) => id).join('\n'));
    return code;
  });
}

/** Of a session that was ended before and left its backups, which the next use of its id would start from. Says whether it was one. */
async function removeWhatStayed(sessions: Sessions, id: string): Promise<boolean> {
  const left = await sessions.backups.list({ sessionId: id });
  if (left.length === 0 || (await sessions.list()).some((session) => session.id === id)) return false;
  for (const { name } of left) await sessions.backups.remove(name);
  return true;
}

function sayWhatStays({ io, globals, progress }: Invocation, id: string, count: number): void {
  if (count === 0 || globals.verbosity === 'quiet' || globals.format === 'json') return;
  progress.end();
  const [what, from] = count === 1 ? ['its backup stays', 'it'] : [`its ${count} backups stay`, 'the newest'];
  io.stderr.write(`${id}: ${what}; the next use starts from ${from}.\n`);
}
