import type { Command } from 'commander';
import type { Latency, SessionMetrics } from '../../../sessions/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { formatElapsed } from '../../human.ts';
import { renderFacts, renderTable } from '../../table.ts';

export function addSessionStatsCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('stats')
    .description(
      'Numbers of the pool of sessions. Counts and latencies are since the engine opened: of this command alone, where no engine stays open.',
    )
    .action(
      cli.action(async (invocation) =>
        invocation.withEngine(async (alcove) => {
          const metrics = await alcove.sessions.metrics();
          await invocation.show(metrics, () => render(metrics, invocation.width));
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove session stats', 'How many places are taken, and by whom they are waited for.'],
    ['alcove session stats --json', 'With histograms of latencies.'],
  ]);
}

function render(metrics: SessionMetrics, width: number | undefined): string {
  const { places, active, leases, waiting, counts, latencies } = metrics;
  const facts = renderFacts([
    ['places', `${places.taken} of ${places.max} taken`],
    ['running', String(active)],
    ['leases', String(leases)],
    ['waiting', `${waiting.turn} for a turn, ${waiting.place} for a place`],
    ...Object.entries(counts).map(([name, count]): [string, string] => [inWords(name), String(count)]),
  ]);
  const taken = Object.entries(latencies).filter(([, { count }]) => count > 0);
  if (taken.length === 0) return facts;
  const table = renderTable<[string, Latency]>(
    taken,
    [
      { title: 'LATENCY', value: ([name]) => inWords(name) },
      { title: 'COUNT', value: ([, { count }]) => String(count), align: 'right' },
      { title: 'MEAN', value: ([, { sumMs, count }]) => formatElapsed(sumMs / count), align: 'right' },
    ],
    width,
  );
  return `${facts}\n\n${table}`;
}

/** `backupsMade`: backups made. */
function inWords(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}
