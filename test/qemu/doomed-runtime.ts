/** An engine that makes one call, says when it has come to a step of it, and stands there until the test kills it. */
import { readFileSync } from 'node:fs';
import { Database } from '../../src/store/index.ts';
import type { VmRuntime } from '../../src/vm/index.ts';
import { openTestRuntime } from './open-test-runtime.ts';

const { stateDir, step, call, args } = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'));
setInterval(() => undefined, 1000); // A promise alone keeps no process alive.
let armed = false;
const failpoint = (name: string) => {
  if (!armed || name !== step) return undefined;
  process.stdout.write('reached');
  return new Promise<void>(() => undefined);
};
const database = new Database(stateDir.databasePath);
const runtime = await openTestRuntime({ stateDir, database }, { failpoint }, { failpoint });
const calls: Record<string, (runtime: VmRuntime) => Promise<unknown>> = {
  start: (on) => on.start(args[0]),
  stop: (on) => on.stop(args[0], { memory: true }),
  restore: (on) => on.restore(args[0], { id: args[1] }),
  snapshot: (on) => on.snapshot(args[0], { id: args[1] }),
  fork: (on) => on.fork(args[0], 2, { start: 'yes' }),
  remove: (on) => on.snapshots.remove(args[0]),
};
armed = true;
await calls[call]?.(runtime);
process.stdout.write('passed');
