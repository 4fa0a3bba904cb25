/** An engine whose callers use sessions in all ways, report each result, and that stands at the n-th step of it all until the test kills it. */
import { readFileSync } from 'node:fs';
import { Database } from '../../src/store/index.ts';
import { openTestRuntime } from './open-test-runtime.ts';
import { openTestSessions } from './open-test-sessions.ts';
import { numbers } from './seeded-numbers.ts';

const { stateDir, steps, options, ids, callers, seed } = JSON.parse(
  readFileSync(process.argv[2] ?? '', 'utf8'),
);
setInterval(() => undefined, 1000); // A promise alone keeps no process alive.
const say = (report: object) => process.stdout.write(`${JSON.stringify(report)}\n`);
let left: number | undefined;
const failpoint = (name: string) => {
  if (left === undefined || left-- > 0) return undefined;
  left = 0;
  say({ reached: name });
  return new Promise<void>(() => undefined);
};
const database = new Database(stateDir.databasePath);
const runtime = await openTestRuntime({ stateDir, database }, { failpoint }, { failpoint });
const { sessions } = await openTestSessions({ stateDir, database, runtime }, options, { failpoint });
left = steps;

const random = numbers(seed);
const pick = <T>(list: readonly T[]): T => list[Math.floor(random.next().value * list.length)] as T;
let commands = 0;

async function use(id: string): Promise<void> {
  await using lease = await sessions.acquire(id, { waitMs: 120_000 });
  const line = `${seed}-${commands++}`;
  await lease.exec(`echo ${line} >> history; sync`);
  say({ id, line });
}

/** What else happens to sessions; that one is in use, or not there, is no news. */
const others = [
  (id: string) => sessions.stop(id),
  (id: string) => sessions.backup(id),
  () => sessions.runMaintenanceNow(),
];

async function caller(): Promise<void> {
  for (;;) {
    if (random.next().value < 0.7) await use(pick(ids));
    else await pick(others)(pick(ids)).catch(() => undefined);
  }
}
await Promise.all(Array.from({ length: callers }, caller));
