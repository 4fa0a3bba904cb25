/** An engine that executes one action after the other, reports each result, and stands at the n-th step of it all until the test kills it. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { openExecutor } from '../../src/executor/index.ts';
import { openImageStore } from '../../src/images/index.ts';
import { Database } from '../../src/store/index.ts';
import { openTestRuntime } from './open-test-runtime.ts';

const { stateDir, steps, limits, calls } = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'));
setInterval(() => undefined, 1000); // A promise alone keeps no process alive.
let left: number | undefined;
const failpoint = (name: string) => {
  if (left === undefined || left-- > 0) return undefined;
  left = 0;
  process.stdout.write(`${JSON.stringify({ reached: name })}\n`);
  return new Promise<void>(() => undefined);
};
const database = new Database(stateDir.databasePath);
const runtime = await openTestRuntime({ stateDir, database }, { failpoint }, { failpoint });
const { executor } = await openExecutor({
  runtime,
  images: openImageStore({ stateDir, database }),
  database,
  limits,
  platform: { backend: 'qemu', architecture: 'x86_64' },
  random: randomBytes,
  failpoint,
});
left = steps;
for (const { action, policy } of calls) {
  const { key, exitCode, snapshot, cached } = await executor.execute(action, policy);
  process.stdout.write(`${JSON.stringify({ key, exitCode, snapshot, cached })}\n`);
}
await executor.settled();
process.stdout.write(`${JSON.stringify({ reached: 'the end' })}\n`);
