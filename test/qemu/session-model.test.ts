import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, test } from 'vitest';
import { builtinImage, openImageStore } from '../../src/images/index.ts';
import { openSessions, type SessionFailpointName, type SessionPool } from '../../src/sessions/index.ts';
import { Database } from '../../src/store/index.ts';
import type { VmRuntime } from '../../src/vm/index.ts';
import { BackupPlace } from '../sessions/fake-backup-store.ts';
import { Life, type Tell } from '../sessions/life.ts';
import { PoolPlayer } from '../sessions/pool-player.ts';
import { type PoolSetting, poolSetting, poolStep, type TimedStep } from '../sessions/pool-steps.ts';
import type { PoolSubject } from '../sessions/pool-subject.ts';
import { SettableClock, testOptions } from '../sessions/sessions-fixture.ts';
import { openRuntimeFixture, type RuntimeFixture } from './runtime-fixture.ts';

/** A history takes some ten seconds under emulation; a machine that has the time takes a hundred. */
const runs = Number(process.env.ALCOVE_MODEL_RUNS ?? 5);

let fixture: RuntimeFixture;
let database: Database;
let runtime: VmRuntime;
beforeAll(async () => {
  fixture = await openRuntimeFixture();
  database = new Database(fixture.stateDir.databasePath);
  runtime = await fixture.open();
});
afterAll(async () => {
  database.close();
  await fixture.finish(runtime);
});

/**
 * A pool over real machines. Its clock is set by hand, so that hours pass at once; an engine that dies lets go of its machines in this
 * process, since test/qemu/session-crash.test.ts has those that are killed.
 */
async function openSubject(
  { backups, options }: PoolSetting,
  tell: Tell,
): Promise<PoolSubject & AsyncDisposable> {
  const clock = new SettableClock(Date.now());
  const place = new BackupPlace(clock);
  let life = new Life();
  let stand: SessionFailpointName | undefined;
  let stands = false;
  const open = async (): Promise<SessionPool> => {
    const current = life;
    const { sessions } = await openSessions({
      runtime: current.object(runtime, tell),
      database,
      images: openImageStore({
        stateDir: { ...fixture.stateDir, [Symbol.dispose]: () => undefined },
        database,
      }),
      options: {
        ...testOptions,
        ...(backups === 'yes' && { backupDestination: '/backups' }),
        ...options,
        image: builtinImage,
        memoryMiB: 192,
        diskMiB: 256,
      },
      owner: 'test',
      ...(backups === 'yes' && { store: current.object(place.store(current)) }),
      random: randomBytes,
      clock: current.clock(clock),
      failpoint: (name) => {
        if (stand === name) stands = true;
        return stand === name || current.isOver ? new Promise(() => undefined) : undefined;
      },
    });
    return sessions;
  };
  const subject = {
    sessions: await open(),
    get stands() {
      return stands;
    },
    place,
    longMs: 300,
    machines: async () =>
      (await runtime.list({ destroyed: 'leave-out' })).filter(({ labels }) => labels['alcove.session']),
    machine: (vmId: string) => runtime.get(vmId),
    standAt(step: SessionFailpointName) {
      stand = step;
    },
    standNowhere() {
      stand = undefined;
    },
    async crash() {
      life.end();
      life = new Life();
      stand = undefined;
      stands = false;
      await runtime.close();
      runtime = await fixture.open();
      subject.sessions = await open();
    },
    async reopen() {
      await subject.sessions.close();
      await runtime.close();
      runtime = await fixture.open();
      subject.sessions = await open();
    },
    pass: (ms: number) => clock.advance(ms),
    setClock: (byMs: number) => clock.set(byMs),
    nowMs: () => performance.now(),
    /** The machines have a time of their own, which nobody can turn on. */
    settle: (turns: number) => new Promise<void>((resolve) => setTimeout(resolve, turns * 10)),
    failCall: () => undefined,
    clearFaults: () => undefined,
    async [Symbol.asyncDispose]() {
      stand = undefined;
      if (stands) await subject.crash();
      for (const { id } of await subject.sessions.list()) {
        await subject.sessions.terminate(id).catch(() => undefined); // Of a history that failed: it says why.
      }
      await subject.sessions.close();
      for (const { id } of await subject.machines()) await runtime.destroy(id);
    },
  };
  return subject;
}

async function playAll(setting: PoolSetting, steps: readonly TimedStep[]): Promise<void> {
  let player: PoolPlayer | undefined;
  await using subject = await openSubject(setting, (call, args) => player?.tell(call, args));
  player = new PoolPlayer(subject, setting);
  for (const step of steps) await player.play(step);
  await player.finish();
}

test('whatever is asked for, passes or dies, in any order: no lease of a real machine is broken and nothing is lost', async () => {
  await fc.assert(
    fc.asyncProperty(poolSetting, fc.array(poolStep, { minLength: 4, maxLength: 14, size: 'max' }), playAll),
    { numRuns: runs, endOnFailure: true },
  );
}, 7_200_000);
