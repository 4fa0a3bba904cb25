import { stat } from 'node:fs/promises';
import fc from 'fast-check';
import { test } from 'vitest';
import { PoolPlayer } from './pool-player.ts';
import { type PoolSetting, poolSetting, poolStep, type TimedStep } from './pool-steps.ts';
import type { PoolSubject } from './pool-subject.ts';
import { openSessionsFixture, type SessionsFixture } from './sessions-fixture.ts';

/** How many histories are played; a night takes more. */
const runs = Number(process.env.ALCOVE_MODEL_RUNS ?? 600);

function subjectOf(fixture: SessionsFixture): PoolSubject {
  return {
    get sessions() {
      return fixture.sessions;
    },
    get stands() {
      return fixture.stands;
    },
    place: fixture.place,
    longMs: 2_000_000,
    machines: () => fixture.machines(),
    machine: (vmId) => fixture.vm.runtime.get(vmId),
    standAt: (step) => fixture.standAt(step),
    crash: () => fixture.crash(),
    reopen: () => fixture.reopen(),
    pass: (ms) => fixture.clock.advance(ms),
    setClock: (byMs) => fixture.clock.set(byMs),
    nowMs: () => fixture.clock.monotonic(),
    settle: async (turns) => {
      for (let turn = 0; turn < turns; turn++) await stat(fixture.vm.root); // What is under way with files goes on, too.
    },
    failCall: (point) => void fixture.vm.backend.fail(point, new Error('planned')),
    clearFaults() {
      fixture.vm.backend.clearFaults();
    },
    standNowhere: () => fixture.standNowhere(),
  };
}

async function playAll(setting: PoolSetting, steps: readonly TimedStep[]): Promise<void> {
  let player: PoolPlayer | undefined;
  const fixture = await openSessionsFixture({
    ...setting,
    tell: (call, args) => player?.tell(call, args),
  });
  player = new PoolPlayer(subjectOf(fixture), setting);
  try {
    for (const step of steps) await player.play(step);
    await player.finish();
  } finally {
    fixture.standNowhere();
    if (fixture.stands) await fixture.crash();
    await fixture[Symbol.asyncDispose]();
  }
}

test('whatever is asked for, fails, passes or dies, in any order: no lease is broken and nothing is lost', async () => {
  await fc.assert(
    fc.asyncProperty(poolSetting, fc.array(poolStep, { minLength: 1, maxLength: 40, size: 'max' }), playAll),
    { numRuns: runs },
  );
}, 3_600_000);
