import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { VmRuntimeOptions, WarmOptions } from '../../src/vm/index.ts';
import { openFixture, type RuntimeFixture } from './runtime-fixture.ts';

const quietMs = 250;

function openPool(warm: Partial<WarmOptions> = {}, more: Partial<VmRuntimeOptions> = {}) {
  return openFixture({ warm: { pool: 'on', ...warm }, ...more });
}

/** What waits, oldest first, as `image builtin`, `shape`, or `image builtin by hand`. */
async function waiting({ runtime }: RuntimeFixture): Promise<string[]> {
  const spares = await runtime.warm.list();
  return spares.map(({ kind, image, filledBy }) =>
    [kind, image?.reference, filledBy === 'hand' && 'by hand'].filter(Boolean).join(' '),
  );
}

async function start({ runtime }: RuntimeFixture, id: string, image = 'builtin'): Promise<void> {
  await runtime.create({ id, image });
  await runtime.start(id);
}

/** Lets so much time pass, and the work end that falls due in it. */
async function pass(fixture: RuntimeFixture, ms: number): Promise<void> {
  await fixture.clock.advance(ms);
  await fixture.runtime.warm.settled();
  for (let before = -1; before !== fixture.backend.log.length; ) {
    before = fixture.backend.log.length;
    await fixture.clock.advance(0);
    await fixture.runtime.warm.settled();
  }
}

const makings = ({ backend }: RuntimeFixture) => backend.log.filter(({ call }) => call === 'make-spare');
const both = ['image builtin', 'shape'];

test('what a start took or would have taken is made once it is quiet, and the next start takes it', async () => {
  await using fixture = await openPool();
  await start(fixture, 'a');
  await pass(fixture, quietMs - 1);
  expect(await waiting(fixture)).toEqual([]);
  await pass(fixture, 1);
  expect(await waiting(fixture)).toEqual(both);
  await start(fixture, 'b');
  expect(await waiting(fixture)).toEqual(['shape']);
  await pass(fixture, quietMs);
  expect(await waiting(fixture)).toEqual(['shape', 'image builtin']);
  expect(await fixture.runtime.warm.stats()).toMatchObject({ misses: 1, claims: { image: 1 }, made: 3 });
});

test('without the pool nothing is made', async () => {
  await using fixture = await openFixture();
  await start(fixture, 'a');
  await pass(fixture, 60_000);
  expect(await waiting(fixture)).toEqual([]);
});

test('as many wait of each as were asked for', async () => {
  await using fixture = await openPool({ perImage: 3, perShape: 0 });
  await start(fixture, 'a');
  await pass(fixture, quietMs);
  expect(await waiting(fixture)).toEqual(['image builtin', 'image builtin', 'image builtin']);
});

test('none is made while a VM starts, and one at a time', async () => {
  await using fixture = await openPool();
  const { runtime, backend } = fixture;
  await start(fixture, 'a');
  await runtime.create({ id: 'b', image: 'builtin' });
  const startHangs = backend.hang('start.middle', { vm: 'b' });
  const starting = runtime.start('b');
  await startHangs.reached;
  await pass(fixture, 60_000);
  expect(makings(fixture)).toEqual([]);
  startHangs.release();
  await starting;
  const makeHangs = backend.hang('make-spare.middle');
  await fixture.clock.advance(quietMs);
  await makeHangs.reached;
  await fixture.clock.advance(60_000);
  expect(makings(fixture)).toHaveLength(1);
  makeHangs.release();
  await pass(fixture, 0);
  expect(await waiting(fixture)).toEqual(both);
});

test('where one start follows the other, it is made in the next gap after a while', async () => {
  await using fixture = await openPool({ perShape: 0 });
  await start(fixture, 'vm-0');
  for (let index = 1; index <= 9; index++) {
    await pass(fixture, quietMs - 50);
    expect(makings(fixture)).toEqual([]);
    await start(fixture, `vm-${index}`);
  }
  await pass(fixture, quietMs - 50);
  expect(await waiting(fixture)).toEqual(['image builtin']);
});

test('what nobody asks for any more is given up, and what was made by hand stays', async () => {
  await using fixture = await openPool({ idleMs: 10_000, perShape: 0 });
  await start(fixture, 'a', 'builtin');
  await pass(fixture, 5000);
  await start(fixture, 'b', 'other');
  await fixture.runtime.warm.fill({ image: 'builtin' });
  await pass(fixture, 1000);
  expect(await waiting(fixture)).toEqual(['image builtin', 'image builtin by hand', 'image other']);
  await pass(fixture, 4000);
  expect(await waiting(fixture)).toEqual(['image builtin by hand', 'image other']);
  await pass(fixture, 60_000);
  expect(await waiting(fixture)).toEqual(['image builtin by hand']);
  expect(await fixture.runtime.warm.stats()).toMatchObject({ givenUp: { idle: 2 } });
});

test('within the bounds, what was asked for last goes before what was asked for long ago', async () => {
  await using fixture = await openPool({ max: 2 });
  await start(fixture, 'a', 'builtin');
  await pass(fixture, quietMs);
  expect(await waiting(fixture)).toEqual(both);
  await start(fixture, 'b', 'other'); // Takes the one of the shape.
  await pass(fixture, quietMs);
  expect(await waiting(fixture)).toEqual(['image other', 'shape']);
  await pass(fixture, 60_000);
  expect(await waiting(fixture)).toEqual(['image other', 'shape']);
});

test('what is made by hand takes the place of what the pool made, and never the other way round', async () => {
  await using fixture = await openPool({ memoryMiB: 512 });
  await start(fixture, 'a');
  await pass(fixture, quietMs);
  expect(await waiting(fixture)).toEqual(both);
  await fixture.runtime.warm.fill({ image: 'other', count: 2 });
  expect(await waiting(fixture)).toEqual(['image other by hand', 'image other by hand']);
  await start(fixture, 'b');
  await pass(fixture, 60_000);
  expect(await waiting(fixture)).toEqual(['image other by hand', 'image other by hand']);
});

test.for([
  ['memory', { memoryMiB: 500 }, 'host memory'],
  ['disk', { diskMiB: 1000 }, 'host disk'],
] as const)(
  'a host that runs short of %s gets it back, and nothing is made until it has enough',
  async ([, shortOf, reason]) => {
    const plenty = { memoryMiB: 10_000, diskMiB: 10_000 };
    let room = plenty;
    await using fixture = await openPool({}, { hostRoom: () => room });
    await start(fixture, 'a');
    await pass(fixture, quietMs);
    await fixture.runtime.warm.fill({});
    room = { ...plenty, ...shortOf };
    await pass(fixture, 10_000);
    expect(await waiting(fixture)).toEqual([]);
    expect(await fixture.runtime.warm.stats()).toMatchObject({ givenUp: { [reason]: 3 } });
    await start(fixture, 'b');
    await pass(fixture, 60_000);
    expect(makings(fixture)).toHaveLength(3);
    room = plenty;
    await pass(fixture, 5000);
    expect(await waiting(fixture)).toEqual(both);
  },
);

test('a host that is a little short gets as much back as it needs, and what was made by hand goes last', async () => {
  let short = () => 0;
  // Each that waits holds a hundred.
  await using fixture = await openPool(
    {},
    { hostRoom: () => ({ memoryMiB: 1000 - short(), diskMiB: 10_000 }) },
  );
  const { runtime, backend } = fixture;
  await runtime.warm.fill({ image: 'other' });
  await start(fixture, 'a');
  await pass(fixture, quietMs);
  expect(await waiting(fixture)).toEqual(['image other by hand', ...both]);
  short = () => 301 + 100 * backend.waiting.length;
  await pass(fixture, 5000);
  expect(await waiting(fixture)).toEqual(['image other by hand']);
});

test('a host that cannot say how much room it has is said once, and nothing is made there', async () => {
  await using fixture = await openPool(
    {},
    {
      hostRoom: () => {
        throw new Error('no /proc here');
      },
    },
  );
  await start(fixture, 'a');
  await pass(fixture, quietMs);
  for (let round = 0; round < 5; round++) await pass(fixture, 5000);
  expect(await waiting(fixture)).toEqual([]);
  expect(fixture.warnings).toEqual(['the warm pool: no /proc here']);
});

test('one that cannot be made is tried again ever more rarely, and said once', async () => {
  await using fixture = await openPool({ perShape: 0, idleMs: 3_600_000 });
  const { backend, warnings } = fixture;
  backend.fail('make-spare.middle', new Error('no luck'), { times: 4 });
  await start(fixture, 'a');
  await pass(fixture, quietMs);
  for (const [waitMs, tries] of [
    [999, 1],
    [1, 2],
    [1999, 2],
    [1, 3],
    [4000, 4],
  ] as const) {
    await pass(fixture, waitMs);
    expect(makings(fixture)).toHaveLength(tries);
  }
  expect(warnings).toEqual(['a warm machine could not be made: no luck']);
  await pass(fixture, 8000);
  expect(await waiting(fixture)).toEqual(['image builtin']);
  expect(await fixture.runtime.warm.stats()).toMatchObject({ made: 1, failed: 4 });
});

test('machines that end by themselves again and again are made ever more rarely, and that is said once', async () => {
  await using fixture = await openPool({ perShape: 0, idleMs: 3_600_000 });
  const { runtime, backend, warnings } = fixture;
  await start(fixture, 'a');
  await pass(fixture, quietMs);
  for (let died = 1; died <= 8; died++) {
    const [spare] = await runtime.warm.list();
    backend.spareDies(spare?.id ?? '', 'out of memory');
    await pass(fixture, 0);
    expect(await waiting(fixture)).toEqual([]);
    await pass(fixture, 1000 * 2 ** (died - 1) - 1);
    expect(await waiting(fixture)).toEqual([]);
    await pass(fixture, 1);
    expect(await waiting(fixture)).toEqual(['image builtin']);
  }
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toMatch(/^the warm machine spare-\w+ ended by itself: out of memory$/);
});

test('machines that are of no use to starts are made ever more rarely, until one is', async () => {
  await using fixture = await openPool({ perShape: 0, idleMs: 3_600_000 });
  const { backend, warnings } = fixture;
  await start(fixture, 'vm-0');
  backend.fail('take-spare.middle', new Error('it does not answer'), { times: 3 });
  for (let index = 1; index <= 3; index++) {
    await pass(fixture, 60_000);
    await start(fixture, `vm-${index}`);
  }
  await pass(fixture, 3999);
  expect(await waiting(fixture)).toEqual([]);
  await pass(fixture, 1);
  await start(fixture, 'vm-4');
  await pass(fixture, quietMs);
  expect(await waiting(fixture)).toEqual(['image builtin']);
  expect(warnings).toHaveLength(1);
});

test('copies of a memory snapshot find one that goes on from it', async () => {
  await using fixture = await openPool({ perImage: 0, perShape: 0 });
  const { runtime } = fixture;
  await start(fixture, 'source');
  await runtime.fork('source', 2, { ids: ['x', 'y'], start: 'yes' });
  await pass(fixture, quietMs);
  expect(await waiting(fixture)).toEqual(['memory']);
  await runtime.fork('source', 1, { ids: ['z'], start: 'yes' }); // Another snapshot.
  expect(await runtime.warm.stats()).toMatchObject({ claims: { memory: 0 } });
  await pass(fixture, quietMs);
  expect(await waiting(fixture)).toEqual(['memory', 'memory']);
  for (const id of ['x', 'y', 'z']) await runtime.destroy(id);
  // Their snapshots went with them, and what was made of these.
  expect(await runtime.snapshots.list()).toEqual([]);
  expect(await waiting(fixture)).toEqual([]);
});

test('a snapshot is kept while a machine is made of it, and no longer', async () => {
  await using fixture = await openPool({ perImage: 0, perShape: 0 });
  const { runtime, backend, root } = fixture;
  await start(fixture, 'source');
  await runtime.fork('source', 1, { ids: ['x'], start: 'yes' });
  const hung = backend.hang('make-spare.middle');
  await fixture.clock.advance(quietMs);
  await hung.reached;
  await runtime.destroy('x');
  expect(readdirSync(join(root, 'snapshots'))).toHaveLength(1);
  hung.release();
  await pass(fixture, 0);
  expect(readdirSync(join(root, 'snapshots'))).toEqual([]);
  expect(await waiting(fixture)).toEqual([]);
  expect(backend.waiting).toEqual([]);
});

test('removing a snapshot or an image does not wait for a machine that is made of it, and is not refused', async () => {
  await using fixture = await openPool({ perShape: 0, perImage: 1 });
  const { runtime, backend, images } = fixture;
  await start(fixture, 'source');
  await fixture.clock.advance(1);
  await runtime.snapshot('source', { id: 's' });
  await runtime.restore('source/s', { id: 'copy' });
  await runtime.start('copy');
  const first = backend.hang('make-spare.middle');
  await fixture.clock.advance(quietMs);
  await first.reached;
  await runtime.destroy('copy');
  await runtime.snapshots.remove('source/s');
  await pass(fixture, quietMs);
  expect(await waiting(fixture)).toEqual(['image builtin']);
  await start(fixture, 'other', 'other');
  const second = backend.hang('make-spare.middle');
  await fixture.clock.advance(quietMs);
  await second.reached;
  await runtime.destroy('other');
  const { digest } = await images.resolve('other');
  await runtime.removeImage(digest, async (inUse) => {
    expect(inUse.has(digest)).toBe(false);
    images.drop('other');
  });
  await pass(fixture, 60_000);
  expect(await waiting(fixture)).toEqual(['image builtin']);
  expect(fixture.warnings).toEqual([]);
});

test('what is dropped is not made again until a start asks for it', async () => {
  await using fixture = await openPool();
  await start(fixture, 'a');
  await pass(fixture, quietMs);
  await fixture.runtime.warm.drop();
  await pass(fixture, 60_000);
  expect(await waiting(fixture)).toEqual([]);
  await start(fixture, 'b');
  await pass(fixture, quietMs);
  expect(await waiting(fixture)).toEqual(both);
});

test('VMs get memory before the pool does, and the pool what they leave', async () => {
  await using fixture = await openPool({ memoryMiB: 1024 }, { limits: { memoryMiB: 768 } });
  const { runtime } = fixture;
  await start(fixture, 'a');
  await pass(fixture, quietMs);
  expect(await waiting(fixture)).toEqual(both);
  await start(fixture, 'b', 'other'); // Takes that of the shape.
  await start(fixture, 'c', 'other'); // Has no room but for the one that is left.
  expect(runtime.capacity.taken.memoryMiB).toBe(768);
  await pass(fixture, 60_000);
  expect(await waiting(fixture)).toEqual([]);
  await runtime.stop('a');
  await pass(fixture, 5000);
  expect(await waiting(fixture)).toEqual(['image other']);
  await runtime.start('a');
  expect(await waiting(fixture)).toEqual([]);
});

test('closing gives up what the pool made, and leaves what was made by hand', async () => {
  await using fixture = await openPool();
  await start(fixture, 'a');
  await pass(fixture, quietMs);
  await fixture.runtime.warm.fill({ image: 'other' });
  await fixture.reopen();
  expect(await waiting(fixture)).toEqual(['image other by hand']);
  expect(fixture.backend.waiting).toHaveLength(1);
});

test('what is kept at close is found, used, filled up and given up by the next engine', async () => {
  await using fixture = await openPool({ atClose: 'keep', idleMs: 10_000 });
  await start(fixture, 'a');
  await pass(fixture, quietMs);
  expect((await fixture.reopen()).mended).toEqual([]);
  expect(await waiting(fixture)).toEqual(both);
  await start(fixture, 'b');
  await pass(fixture, quietMs);
  expect(await waiting(fixture)).toEqual(['shape', 'image builtin']);
  await pass(fixture, 10_000);
  expect(await waiting(fixture)).toEqual([]);
});

test('closing calls off what is being made', async () => {
  await using fixture = await openPool();
  const hung = fixture.backend.hang('make-spare.middle');
  await start(fixture, 'a');
  await fixture.clock.advance(quietMs);
  await hung.reached;
  const runtime = await fixture.reopen();
  expect(runtime.mended).toEqual([]);
  expect(fixture.backend.waiting).toEqual([]);
  expect(readdirSync(join(fixture.root, 'spares'))).toEqual([]);
  expect(fixture.warnings).toEqual([]);
});
