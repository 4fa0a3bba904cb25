/**
 * `npm run bench [-- --list] [-- --only TITLE] [-- --rounds N]`: Alcove beside its peers, in one run on one machine. Prints a table and writes
 * `build/bench.json`, and `build/bench.md` for docs/speed.md. A case that fails does not keep the others from being run; the exit code is then 1.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build, root } from '../scripts/build.ts';
import { setUp } from '../scripts/setup.ts';
import { cases } from './cases/index.ts';
import { type Case, measure } from './measure.ts';
import { evaluate, type Measured } from './results.ts';
import { formatGoals, formatMarkdown, formatTable } from './table.ts';
import { World } from './world.ts';

const { values: flags } = parseArgs({
  options: {
    list: { type: 'boolean' },
    only: { type: 'string', multiple: true },
    rounds: { type: 'string' },
  },
});
const chosen = cases.filter(({ title }) => !flags.only || flags.only.some((part) => isMeant(title, part)));

/** The first signal lets the turn that is under way end, and cleans up; a second one ends the process. */
const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => stopping.abort(new Error(`stopped by ${signal}`)));

if (chosen.length === 0) {
  console.error('bench: no case has such a title; --list tells all');
  process.exitCode = 2;
} else if (flags.list) {
  console.log(
    chosen.map(({ title, rows }) => [title, ...rows.map((row) => `  ${row.title}`)].join('\n')).join('\n'),
  );
} else {
  setUp('test');
  build();
  await runCases();
}

async function runCases(): Promise<void> {
  await using world = await World.open();
  const measured: Measured[] = [];
  const failed: Record<string, string> = {};
  for (const one of chosen) {
    if (stopping.signal.aborted) break;
    const start = performance.now();
    try {
      measured.push(...(await runCase(one, world)));
    } catch (error) {
      console.error(`bench: ${one.title} failed:`, error);
      failed[one.title] = error instanceof Error ? error.message : String(error);
    }
    try {
      await world.sweep();
    } catch (error) {
      console.error(`bench: after ${one.title}:`, error);
      failed[`after ${one.title}`] = error instanceof Error ? error.message : String(error);
    }
    console.error(`bench: ${one.title}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
  }
  console.log(formatTable(measured));
  console.log(`\n${formatGoals(measured)}`);
  for (const [what, why] of Object.entries(world.missing))
    console.log(`not measured: ${what}: ${why.trim().replaceAll(/\s+/g, ' ')}`);
  for (const title of Object.keys(failed)) console.log(`FAILED: ${title}`);
  writeReport({ peers: world.peers, missing: world.missing, failed, rows: measured });
  if (Object.keys(failed).length > 0) process.exitCode = 1;
}

/** A whole title means that case alone, a part of one all that have it. */
function isMeant(title: string, part: string): boolean {
  return cases.some((one) => one.title === part) ? title === part : title.includes(part);
}

async function runCase(one: Case, world: World): Promise<Measured[]> {
  await using owned = new AsyncDisposableStack();
  const contenders = await one.prepare(world, owned);
  const rounds = Number(flags.rounds ?? one.rounds);
  const samples = await measure(contenders, {
    rounds,
    warmUps: one.warmUps ?? 1,
    onTurn: (round, name) => console.error(`bench: ${one.title}: round ${round} of ${rounds}: ${name}`),
    signal: stopping.signal,
  });
  return evaluate(one, samples);
}

function writeReport(report: { rows: readonly Measured[] } & Record<string, unknown>): void {
  const machine = {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
  };
  mkdirSync(join(root, 'build'), { recursive: true });
  const whole = { at: new Date().toISOString(), machine, ...report };
  writeFileSync(join(root, 'build/bench.json'), `${JSON.stringify(whole, undefined, 2)}\n`);
  writeFileSync(join(root, 'build/bench.md'), formatMarkdown(report.rows));
}
