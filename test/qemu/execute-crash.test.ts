import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Action, type CachePolicy, type Executor, openExecutor } from '../../src/executor/index.ts';
import { openImageStore } from '../../src/images/index.ts';
import { Database } from '../../src/store/index.ts';
import type { VmRuntime } from '../../src/vm/index.ts';
import { openRuntimeFixture, type RuntimeFixture } from './runtime-fixture.ts';
import { numbers } from './seeded-numbers.ts';

/** How many engines are killed; a machine that has the time takes a hundred. */
const kills = Number(process.env.ALCOVE_CRASH_KILLS ?? 8);
/** A miss passes some 25 steps of engine, runtime and backend; the calls below some 100. */
const mostSteps = 110;

let fixture: RuntimeFixture;
let database: Database;
let folder: string;
beforeAll(async () => {
  fixture = await openRuntimeFixture();
  database = new Database(fixture.stateDir.databasePath);
  folder = mkdtempSync(join(tmpdir(), 'alcove-folder-'));
  const runtime = await fixture.open();
  // The template, so that not every engine that is killed early makes it.
  await runtime.create({ id: 'first', image: 'builtin' });
  await runtime.start('first');
  await runtime.destroy('first');
  await runtime.close();
});
afterAll(() => {
  database.close();
  fixture.close();
  rmSync(folder, { recursive: true });
});

const limits = { maxEntries: 3, maxBytes: 2 ** 40, reservedBytes: 0 };
const source = { image: 'builtin' };

/** Three keys of six calls: a miss, a failure, a hit, one of another key, a refresh, and one that evicts. */
function callsOf(round: number): { action: Action; policy: CachePolicy }[] {
  const inject = { from: folder, to: '/job' };
  const write = (text: string): Action => ({
    source,
    inject,
    command: `cat /job/note - </dev/null > /out; echo ${text} >> /out`,
  });
  return [
    { action: write('a'), policy: { cache: `a${round}` } },
    { action: { source, command: 'echo half > /out; exit 3' }, policy: { cache: `bad${round}` } },
    { action: write('a'), policy: { cache: `a${round}` } },
    { action: write('b'), policy: { cache: `b${round}` } },
    { action: write('a'), policy: { cache: `a${round}`, mode: 'refresh' } },
    { action: write('c'), policy: 'none' },
    { action: write('d'), policy: { cache: `d${round}` } },
  ];
}

interface Report {
  reached?: string;
  key?: string;
  exitCode?: number;
  snapshot?: string;
}

/** Lets an engine live for so many steps, and kills it. Returns what it had reported by then. */
async function liveAndDie(round: number, steps: number): Promise<Report[]> {
  const order = join(fixture.stateDir.root, 'order.json');
  const { stateDir } = fixture;
  writeFileSync(order, JSON.stringify({ stateDir, steps, limits, calls: callsOf(round) }));
  const program = fileURLToPath(new URL('./doomed-executor.ts', import.meta.url));
  const child = spawn(process.execPath, [program, order], { stdio: ['ignore', 'pipe', 'inherit'] });
  const reports: Report[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const report = JSON.parse(line) as Report;
    if (report.reached) break;
    reports.push(report);
  }
  child.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return reports;
}

async function expectPromises(
  runtime: VmRuntime,
  executor: Executor,
  reports: readonly Report[],
): Promise<void> {
  await executor.settled();
  await fixture.expectNothingUnlisted(runtime);
  expect(await runtime.list({ destroyed: 'leave-out' })).toEqual([]);
  const entries = await executor.cache.list();
  const there = await runtime.snapshots.list();
  expect(entries.map(({ snapshot }) => snapshot).sort()).toEqual(there.map(({ ref }) => ref).sort());
  expect(entries.map(({ key }) => key).filter((key) => key.startsWith('bad'))).toEqual([]);
  // What was reported last as kept is there, and is what the command wrote.
  const last = reports.findLast(({ key, exitCode }) => key !== undefined && exitCode === 0);
  const latest = last && entries.find(({ key }) => key === last.key);
  if (last) expect(latest?.key).toBe(last.key);
  if (!latest) return;
  const read = { source: { snapshot: latest.snapshot }, command: 'cat /out' };
  const { stdout, snapshot } = await executor.execute(read, 'none');
  expect(stdout).toBe(`the note\n${latest.key[0]}\n`);
  if (snapshot) await executor.removeSnapshot(snapshot);
}

test(
  'engines that are killed in the middle of an execute leave neither a row without a snapshot nor a snapshot without a row',
  async () => {
    writeFileSync(join(folder, 'note'), 'the note\n');
    const random = numbers(kills);
    const mended: string[] = [];
    for (let round = 0; round < kills; round++) {
      const reports = await liveAndDie(round, Math.floor(random.next().value * mostSteps));
      const runtime = await fixture.open();
      const opened = await openExecutor({
        runtime,
        images: openImageStore({ stateDir: fixture.stateDir, database }),
        database,
        limits,
        platform: { backend: 'qemu', architecture: 'x86_64' },
        random: randomBytes,
      });
      mended.push(...runtime.mended, ...opened.mended);
      await expectPromises(runtime, opened.executor, reports);
      await opened.executor.close();
      await runtime.close();
    }
    expect(mended.length).toBeGreaterThan(0); // Else none was killed in the middle of anything.
  },
  kills * 30_000,
);
