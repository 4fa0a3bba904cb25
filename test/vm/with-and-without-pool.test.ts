import { expect, test } from 'vitest';
import { isAlcoveError } from '../../src/errors.ts';
import type { VmRuntime, WarmOptions } from '../../src/vm/index.ts';
import { openFixture, type RuntimeFixture } from './runtime-fixture.ts';

/** Every call that users have, in states that fit and in some that do not. */
const calls: readonly ((runtime: VmRuntime) => Promise<unknown>)[] = [
  (runtime) => runtime.create({ id: 'a', image: 'builtin', env: { A: '1' }, labels: { of: 'a' } }),
  (runtime) => runtime.start('a'),
  (runtime) => runtime.start('a'),
  (runtime) => runtime.exec('a', { command: 'hostname' }),
  (runtime) => runtime.exec('a', { command: 'env' }),
  (runtime) => runtime.exec('a', { command: 'write /root/note one' }),
  (runtime) => runtime.exec('a', { command: 'remember word kept' }),
  (runtime) => runtime.snapshot('a', { id: 's' }),
  (runtime) => runtime.restore('a/s', { id: 'b', env: { B: '2' } }),
  (runtime) => runtime.start('b'),
  (runtime) => runtime.exec('b', { command: 'recall word' }),
  (runtime) => runtime.exec('b', { command: 'cat /root/note' }),
  (runtime) => runtime.restore('a/s', { id: 'c', memory: 'exclude' }),
  (runtime) => runtime.start('c'),
  (runtime) => runtime.exec('c', { command: 'recall word' }),
  (runtime) => runtime.fork('a', 2, { ids: ['f', 'g'], start: 'yes' }),
  (runtime) => runtime.exec('g', { command: 'hostname' }),
  (runtime) => runtime.pause('a'),
  (runtime) => runtime.exec('a', { command: 'true' }),
  (runtime) => runtime.resume('a'),
  (runtime) => runtime.stop('a', { memory: true }),
  (runtime) => runtime.start('a'),
  (runtime) => runtime.exec('a', { command: 'recall word' }),
  (runtime) => runtime.stop('a'),
  (runtime) => runtime.start('a'),
  (runtime) => runtime.exec('a', { command: 'cat /root/note' }),
  (runtime) => runtime.console('a'),
  (runtime) => runtime.create({ id: 'large', image: 'builtin', memoryMiB: 1024 }),
  (runtime) => runtime.start('large'),
  (runtime) => runtime.destroy('b'),
  (runtime) => runtime.destroy('c'),
  (runtime) => runtime.start('large'),
  (runtime) => runtime.start('unknown'),
  (runtime) => runtime.snapshots.remove('a/s'),
  (runtime) => runtime.snapshots.list(),
  async (runtime) => runtime.capacity,
  (runtime) => runtime.list(),
];

/** What a user sees of each call, time let pass between them. */
async function play(warm: Partial<WarmOptions>, fill: 'fill' | 'leave empty') {
  await using fixture = await openFixture({ warm, limits: { memoryMiB: 2048 } });
  if (fill === 'fill') await fixture.runtime.warm.fill({ image: 'builtin', count: 2 });
  const seen: unknown[] = [];
  for (const call of calls) {
    seen.push(await outcomeOf(call(fixture.runtime)));
    await pass(fixture);
  }
  const { claims } = await fixture.runtime.warm.stats();
  return { seen, warnings: fixture.warnings, taken: claims.image + claims.shape + claims.memory };
}

async function outcomeOf(call: Promise<unknown>): Promise<unknown> {
  try {
    return plain(await call);
  } catch (error) {
    if (!isAlcoveError(error)) throw error;
    return plain(error.toJSON());
  }
}

/** As text: names that are made up, and what holds them, differ from engine to engine. */
function plain(value: unknown): string {
  return JSON.stringify(value ?? null).replaceAll(/(fork|vm|s)-[0-9a-f]{15}/g, '$1-…');
}

async function pass({ clock, runtime }: RuntimeFixture): Promise<void> {
  for (let round = 0; round < 4; round++) {
    await clock.advance(1000);
    await runtime.warm.settled();
  }
}

test('every call comes to the same with and without machines made ahead of need', async () => {
  const without = await play({ pool: 'off' }, 'leave empty');
  expect(without.taken).toBe(0);
  for (const [warm, fill] of [
    [{ pool: 'on' }, 'leave empty'],
    [{ pool: 'on', perShape: 3 }, 'fill'],
    [{ pool: 'off' }, 'fill'],
  ] as const) {
    const withThem = await play(warm, fill);
    expect(withThem.seen).toEqual(without.seen);
    expect(withThem.warnings).toEqual([]);
    expect(withThem.taken).toBeGreaterThan(0);
  }
});
