import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { SessionPool } from '../../src/sessions/index.ts';
import { Database } from '../../src/store/index.ts';
import { sessionLabel, type VmRuntime } from '../../src/vm/index.ts';
import { openTestSessions } from './open-test-sessions.ts';
import { openRuntimeFixture, type RuntimeFixture } from './runtime-fixture.ts';
import { numbers } from './seeded-numbers.ts';

/** How many engines are killed; a machine that has the time takes a hundred. */
const kills = Number(process.env.ALCOVE_CRASH_KILLS ?? 6);
const mostSteps = 400;
const ids = ['a', 'b', 'c', 'd', 'e'];

let fixture: RuntimeFixture;
let database: Database;
let backups: string;
beforeAll(async () => {
  fixture = await openRuntimeFixture();
  database = new Database(fixture.stateDir.databasePath);
  backups = mkdtempSync(join(tmpdir(), 'alcove-backups-'));
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
  rmSync(backups, { recursive: true });
});

/** Room for fewer machines than there are sessions, and everything is due at once. */
function crowded() {
  return {
    maxVms: 3,
    stopIdleForRoom: 'yes',
    idleShutdownMs: 1,
    pruneAfterMs: 2000,
    backupAfterMs: 1,
    backupDestination: backups,
    diskMiB: 256,
  } as const;
}

interface Report {
  reached?: string;
  id: string;
  line: string;
}

/** Lets an engine live for so many steps, and kills it. Returns what it had reported by then, and where it stood. */
async function liveAndDie(round: number, steps: number): Promise<{ reports: Report[]; at: string }> {
  const order = join(fixture.stateDir.root, 'order.json');
  const { stateDir } = fixture;
  const work = { stateDir, steps, options: crowded(), ids, callers: 5, seed: round + 1 };
  writeFileSync(order, JSON.stringify(work));
  const program = fileURLToPath(new URL('./doomed-sessions.ts', import.meta.url));
  const child = spawn(process.execPath, [program, order], { stdio: ['ignore', 'pipe', 'inherit'] });
  const reports: Report[] = [];
  let at = 'nowhere';
  for await (const line of createInterface({ input: child.stdout })) {
    const report = JSON.parse(line) as Report;
    if (report.reached === undefined) reports.push(report);
    else if (at === 'nowhere') at = report.reached;
    // Until it is dead, others may still report.
    if (report.reached !== undefined) child.kill('SIGKILL');
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return { reports, at };
}

/** As opening a state directory does; the test holds its lock all along. */
function emptyTmpDir(): void {
  const { tmpDir } = fixture.stateDir;
  for (const name of readdirSync(tmpDir)) rmSync(join(tmpDir, name), { recursive: true });
}

async function historyOf(sessions: SessionPool, id: string): Promise<string[]> {
  await using lease = await sessions.acquire(id, { waitMs: 60_000 });
  const { stdout } = await lease.exec('cat history 2>/dev/null');
  return stdout.split('\n').filter(Boolean);
}

async function expectMachinesOfSessions(runtime: VmRuntime, sessions: SessionPool): Promise<void> {
  const machines = await runtime.list({ destroyed: 'leave-out' });
  const wanted = (await sessions.list()).flatMap(({ vmId }) => vmId ?? []);
  expect(machines.map(({ id }) => id).sort()).toEqual(wanted.sort());
  expect(machines.filter(({ labels }) => labels[sessionLabel] === undefined)).toEqual([]);
  expect(machines.length).toBeLessThanOrEqual(crowded().maxVms);
  expect(await runtime.snapshots.list()).toEqual([]);
}

test(
  'what an engine had reported when it was killed is in its session, once, whatever it was doing',
  async () => {
    const random = numbers(kills);
    const known = new Map(ids.map((id) => [id, [] as string[]]));
    const mended: string[] = [];
    const stoodAt: string[] = [];
    for (let round = 0; round < kills; round++) {
      const { reports, at } = await liveAndDie(round, Math.floor(random.next().value * mostSteps));
      stoodAt.push(at);
      emptyTmpDir();
      const runtime = await fixture.open();
      const opened = await openTestSessions({ stateDir: fixture.stateDir, database, runtime }, crowded());
      mended.push(...runtime.mended, ...opened.mended);
      await expectMachinesOfSessions(runtime, opened.sessions);
      for (const id of ids) {
        const history = await historyOf(opened.sessions, id);
        const reported = reports.filter((report) => report.id === id).map(({ line }) => line);
        const atLeast = [...(known.get(id) ?? []), ...reported];
        expect(history.slice(0, atLeast.length), `${id} after ${at}`).toEqual(atLeast);
        // One that was under way may have come to pass.
        expect(history.length - atLeast.length).toBeLessThanOrEqual(1);
        known.set(id, history);
      }
      await opened.sessions.close();
      await fixture.expectNothingUnlisted(runtime);
      await runtime.close();
      expect(
        readdirSync(backups).filter((name) => !/^[a-e]-\d{8}T\d{6}Z(-\d+)?\.(tar\.zst|json)$/.test(name))
          .length,
      ).toBeLessThanOrEqual(1);
    }
    expect(stoodAt).not.toContain('nowhere');
    expect(mended.length).toBeGreaterThan(0); // Else none was killed in the middle of anything.
    const runtime = await fixture.open();
    for (const { id } of await runtime.list({ destroyed: 'leave-out' })) await runtime.destroy(id);
    await runtime.close();
  },
  kills * 60_000,
);
