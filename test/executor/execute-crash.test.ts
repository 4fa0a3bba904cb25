import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Action, type CachePolicy, executeFailpoints } from '../../src/executor/index.ts';
import type { SnapshotRef } from '../../src/vm/index.ts';
import { seeded } from '../guest/seeded.ts';
import { type ExecutorFixture, openExecutorFixture, roomyCache } from './executor-fixture.ts';

/** Lets an engine die at the n-th step it passes from now on, whichever that is, or at the next of a name. */
class Doom {
  #left: number | undefined;
  #name: string | undefined;
  #dead = false;
  #reached = Promise.withResolvers<void>();

  /** A step: nothing that comes after it happens, in any call. */
  readonly at = (name: string): Promise<void> | undefined => {
    if (!this.#dead && this.#left !== undefined && (this.#name ?? name) === name) {
      this.#dead = this.#left === 0;
      this.#left--;
      if (this.#dead) this.#reached.resolve();
    }
    return this.#dead ? new Promise(() => undefined) : undefined;
  };

  arm(left: number, name?: string): Promise<void> {
    this.#left = left;
    this.#name = name;
    this.#reached = Promise.withResolvers();
    return this.#reached.promise;
  }

  /** For the next engine. */
  lift(): void {
    this.#left = undefined;
    this.#dead = false;
  }
}

const image = { image: 'builtin' };
const make = (text: string): Action => ({ source: image, command: `write /out ${text}` });

/** What must hold after every crash. @param contents what each key's command writes; a key whose command fails has none */
async function expectPromises(
  fixture: ExecutorFixture,
  contents: ReadonlyMap<string, ReadonlySet<string>>,
): Promise<void> {
  const { executor, vm } = fixture;
  expect(await vm.runtime.list({ destroyed: 'leave-out' })).toEqual([]);
  const entries = await executor.cache.list();
  const listed = (await vm.runtime.snapshots.list()).map(({ ref }) => ref);
  // No row without a snapshot, no snapshot without a row.
  expect(entries.map(({ snapshot }) => snapshot).sort()).toEqual(listed.sort());
  for (const { key, snapshot } of entries) {
    const { stdout } = await executor.execute({ source: { snapshot }, command: 'cat /out' }, 'none');
    expect([...(contents.get(key) ?? [])], `what ${key} may hold`).toContain(stdout);
  }
  for (const [key, allowed] of contents)
    if (allowed.size === 0) expect(entries.map((entry) => entry.key)).not.toContain(key);
  await fixture.reopen();
  expect(fixture.mended).toEqual([]);
  expect(fixture.warnings).toEqual([]);
}

const scenarios: Readonly<
  Record<string, { action: Action; policy: CachePolicy; contents: [string, string[]][] }>
> = {
  'a miss': {
    action: make('new'),
    policy: { cache: 'new' },
    contents: [
      ['old', ['old']],
      ['new', ['new']],
    ],
  },
  'a refresh': {
    action: make('newer'),
    policy: { cache: 'old', mode: 'refresh' },
    contents: [['old', ['old', 'newer']]],
  },
  'a failure': {
    action: { source: image, command: 'false' },
    policy: { cache: 'bad' },
    contents: [
      ['old', ['old']],
      ['bad', []],
    ],
  },
  'a run that is not cached': { action: make('x'), policy: 'none', contents: [['old', ['old']]] },
};

describe.for(Object.entries(scenarios))('an engine that is killed during %s', ([, scenario]) => {
  test.for(executeFailpoints)('at %s keeps every promise', async (step) => {
    const doom = new Doom();
    await using fixture = await openExecutorFixture({
      failpoint: doom.at,
      limits: { ...roomyCache, maxEntries: 1 },
    });
    await fixture.executor.execute(make('old'), { cache: 'old' });
    await fixture.executor.settled();
    const reached = doom.arm(0, step);
    const call = fixture.executor
      .execute(scenario.action, scenario.policy)
      .then(() => fixture.executor.settled());
    await Promise.race([reached, call]);
    doom.lift();
    await fixture.crash();
    await expectPromises(fixture, new Map(scenario.contents.map(([key, texts]) => [key, new Set(texts)])));
  });
});

test('an engine that is killed again and again, at any step of anything, keeps every promise', async () => {
  const call = fc.record({
    key: fc.constantFrom('a', 'b', 'c', 'd'),
    text: fc.constantFrom('1', '2', '3'),
    fails: fc.boolean(),
    mode: fc.constantFrom('use', 'refresh', 'readOnly', 'none'),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ calls: fc.array(call, { minLength: 1, maxLength: 5 }), step: fc.nat(60) }), {
        minLength: 1,
        maxLength: 4,
      }),
      async (lives) => {
        const doom = new Doom();
        await using fixture = await openExecutorFixture({
          failpoint: doom.at,
          limits: { ...roomyCache, maxEntries: 2 },
          vm: { failpoint: doom.at },
        });
        const contents = new Map<string, Set<string>>(['a', 'b', 'c', 'd'].map((key) => [key, new Set()]));
        for (const { calls, step } of lives) {
          const reached = doom.arm(step);
          const done = Promise.all(
            calls.map(async ({ key, text, fails, mode }) => {
              const command = fails ? 'false' : `write /out ${text}`;
              if (!fails && (mode === 'use' || mode === 'refresh')) contents.get(key)?.add(text);
              const policy: CachePolicy = mode === 'none' ? 'none' : { cache: key, mode: mode as 'use' };
              await fixture.executor.execute({ source: image, command }, policy);
            }),
          ).then(() => fixture.executor.settled());
          await Promise.race([reached, done]);
          doom.lift();
          await fixture.crash();
          await expectPromises(fixture, contents);
        }
      },
    ),
    { ...seeded, numRuns: 100 },
  );
}, 120_000);

test('a snapshot that a machine of the user’s was made from survives the loss of its entry, as long as it is needed', async () => {
  await using fixture = await openExecutorFixture();
  const { snapshot } = await fixture.executor.execute(make('old'), { cache: 'old' });
  await fixture.vm.runtime.restore(snapshot as SnapshotRef, { id: 'mine' });
  await fixture.executor.cache.remove(['old']);
  await fixture.crash();
  expect(await fixture.vm.runtime.snapshots.has(snapshot as SnapshotRef)).toBe(true);
  await fixture.vm.runtime.destroy('mine');
  expect(await fixture.vm.runtime.snapshots.has(snapshot as SnapshotRef)).toBe(false);
});
