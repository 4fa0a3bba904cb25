import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { VmRuntime, WarmOptions } from '../../src/vm/index.ts';
import { openFixture, type RuntimeFixture } from './runtime-fixture.ts';

const taken = ({ backend }: RuntimeFixture) => backend.log.filter(({ call }) => call === 'take-spare');
const kinds = async (runtime: VmRuntime) => (await runtime.warm.list()).map(({ kind }) => kind);

/** Nothing is anywhere that is not listed. */
async function expectNoLeaks(fixture: RuntimeFixture): Promise<void> {
  const waiting = (await fixture.runtime.warm.list()).map(({ id }) => id).sort();
  await expect.poll(() => fixture.backend.waiting).toEqual(waiting);
  await expect.poll(() => readdirSync(join(fixture.root, 'spares')).sort()).toEqual(waiting);
  const rows = () => fixture.database.prepare('SELECT id FROM spares ORDER BY id').all();
  await expect.poll(() => rows().map(({ id }) => id)).toEqual(waiting);
}

async function begin(runtime: VmRuntime, id: string, image = 'builtin'): Promise<string[]> {
  const steps: string[] = [];
  await runtime.create({ id, image });
  await runtime.start(id, { onProgress: (step) => steps.push(step) });
  return steps;
}

test('a start takes a machine that was made for its image, and says so; the next finds none', async () => {
  await using fixture = await openFixture();
  const { runtime, backend } = fixture;
  const [spare] = await runtime.warm.fill({ image: 'builtin' });
  expect(spare).toMatchObject({ kind: 'image', image: { reference: 'builtin' }, filledBy: 'hand' });
  expect(backend.waiting).toEqual([spare?.id]);
  expect(await begin(runtime, 'a')).toEqual(['taking a warm machine']);
  expect(await begin(runtime, 'b')).toEqual([]);
  expect(taken(fixture)).toEqual([{ vm: 'a', call: 'take-spare', about: spare?.id }]);
  expect(await runtime.warm.list()).toEqual([]);
  expect(await runtime.warm.stats()).toMatchObject({ made: 1, claims: { image: 1 }, misses: 1, waiting: 0 });
  await expectNoLeaks(fixture);
});

test('one of the same image goes before one of the shape, which any image takes, also a VM that ran before', async () => {
  await using fixture = await openFixture();
  const { runtime } = fixture;
  await runtime.warm.fill({ count: 2 });
  await runtime.warm.fill({ image: 'builtin' });
  expect(await kinds(runtime)).toEqual(['shape', 'shape', 'image']);
  await begin(runtime, 'a');
  expect(await kinds(runtime)).toEqual(['shape', 'shape']);
  await begin(runtime, 'b', 'other');
  await runtime.stop('a');
  await runtime.start('a');
  expect(await runtime.warm.stats()).toMatchObject({ claims: { image: 1, shape: 2 }, misses: 0 });
});

test.for([
  ['memory', { memoryMiB: 512 }],
  ['processors', { cpus: 2 }],
  ['network', { network: 'user' }],
  ['image', { image: 'other' }],
] as const)('a machine of another %s is not taken', async ([, difference]) => {
  await using fixture = await openFixture();
  const { runtime } = fixture;
  await runtime.warm.fill({ image: 'builtin', ...difference });
  await begin(runtime, 'a');
  expect(taken(fixture)).toEqual([]);
  expect(await runtime.warm.list()).toHaveLength(1);
});

test('a copy of a memory snapshot takes one made for that snapshot, and goes on from its memory', async () => {
  await using fixture = await openFixture();
  const { runtime } = fixture;
  await begin(runtime, 'source');
  await runtime.exec('source', { command: 'remember word kept' });
  await runtime.snapshot('source', { id: 's' });
  const [spare] = await runtime.warm.fill({ snapshot: 'source/s' });
  expect(spare).toMatchObject({ kind: 'memory', snapshot: 'source/s', memoryMiB: 256 });
  await runtime.restore('source/s', { id: 'disk-only', memory: 'exclude' });
  await runtime.start('disk-only');
  await runtime.restore('source/s', { id: 'copy' });
  await runtime.start('copy');
  expect(taken(fixture)).toEqual([{ vm: 'copy', call: 'take-spare', about: spare?.id }]);
  expect((await runtime.exec('copy', { command: 'recall word' })).stdout).toContain('kept');
});

test('machines made by hand wait on while no engine is open', async () => {
  await using fixture = await openFixture();
  const filled = await fixture.runtime.warm.fill({ image: 'builtin', count: 2 });
  const runtime = await fixture.reopen();
  expect(runtime.mended).toEqual([]);
  expect(await runtime.warm.list()).toEqual(filled);
  expect(await begin(runtime, 'a')).toEqual(['taking a warm machine']);
  await runtime.warm.drop();
  expect(await runtime.warm.list()).toEqual([]);
  await expectNoLeaks(fixture);
});

test('drop ends the named ones; of an unknown one it says so, and ends none', async () => {
  await using fixture = await openFixture();
  const { runtime } = fixture;
  const [a, b] = await runtime.warm.fill({ count: 2 });
  await expect(runtime.warm.drop([a?.id ?? '', 'spare-unknown'])).rejects.toMatchObject({
    code: 'SpareNotFound',
  });
  expect(await runtime.warm.list()).toHaveLength(2);
  await runtime.warm.drop([a?.id ?? '']);
  expect(await runtime.warm.list()).toEqual([b]);
  await expectNoLeaks(fixture);
});

test.for(['take-spare.begin', 'take-spare.middle', 'take-spare.end', 'start.end'] as const)(
  'a start that fails at %s with a warm machine is made without, and the user is not told',
  async (point) => {
    await using fixture = await openFixture();
    const { runtime, backend, warnings } = fixture;
    const [spare] = await runtime.warm.fill({ image: 'builtin' });
    backend.fail(point, new Error('out of luck'));
    await begin(runtime, 'a');
    expect(await runtime.get('a')).toMatchObject({ status: 'running' });
    expect(warnings).toEqual([
      `VM a is started without the warm machine ${spare?.id}, which was of no use: out of luck`,
    ]);
    expect(await runtime.warm.stats()).toMatchObject({ claims: { image: 1 }, unusable: 1 });
    expect((await runtime.exec('a', { command: 'hostname' })).exitCode).toBe(0);
    await expectNoLeaks(fixture);
  },
);

test('a machine that dies while a start takes it over is no reason to fail, nor for the VM to have died', async () => {
  await using fixture = await openFixture();
  const { runtime, backend } = fixture;
  await runtime.warm.fill({ image: 'builtin' });
  await runtime.create({ id: 'a', image: 'builtin' });
  const hung = backend.hang('start.end');
  const starting = runtime.start('a');
  await hung.reached;
  backend.dieByItself('a', 'it was worn out');
  hung.release();
  expect(await starting).toMatchObject({ status: 'running' });
  expect((await runtime.exec('a', { command: 'hostname' })).stdout).toBe('a\n');
  await expectNoLeaks(fixture);
});

test('a machine that a start laid claim to when the engine died is given to no other', async () => {
  await using fixture = await openFixture({
    failpoint: (name) => (name === 'spare.claimed' ? new Promise(() => undefined) : undefined),
  });
  const [first, second] = await fixture.runtime.warm.fill({ image: 'builtin', count: 2 });
  await fixture.runtime.create({ id: 'a', image: 'builtin' });
  void fixture.runtime.start('a');
  await expect.poll(() => fixture.runtime.warm.list()).toEqual([second]);
  const runtime = await fixture.crash({ failpoint: () => undefined });
  expect(runtime.mended).toEqual([`warm machine ${first?.id}: removed it, which no record knew`]);
  expect(await runtime.warm.list()).toEqual([second]);
  await expectNoLeaks(fixture);
});

test('a start that fails for a reason of its own says so, and the warm machine is used up', async () => {
  await using fixture = await openFixture();
  const { runtime, backend } = fixture;
  await runtime.warm.fill({ image: 'builtin' });
  backend.fail('start.middle', new Error('the disk is broken'), { times: 2 });
  await expect(begin(runtime, 'a')).rejects.toThrow('the disk is broken');
  expect(await runtime.get('a')).toMatchObject({ status: 'created' });
  expect(runtime.capacity.taken.memoryMiB).toBe(0);
  await expectNoLeaks(fixture);
  expect(await runtime.warm.list()).toEqual([]);
});

test('a start that is called off is not tried again', async () => {
  await using fixture = await openFixture();
  const { runtime, backend } = fixture;
  await runtime.warm.fill({ image: 'builtin' });
  await runtime.create({ id: 'a', image: 'builtin' });
  const hung = backend.hang('take-spare.middle');
  const calling = new AbortController();
  const start = runtime.start('a', { signal: calling.signal });
  await hung.reached;
  calling.abort();
  await expect(start).rejects.toMatchObject({ code: 'Cancelled' });
  expect(backend.log.filter(({ call }) => call === 'start')).toHaveLength(1);
  await expectNoLeaks(fixture);
});

test('one that ended by itself is not given to a start, and is said once when it was made by hand', async () => {
  await using fixture = await openFixture();
  const { runtime, backend, warnings } = fixture;
  const [spare] = await runtime.warm.fill({ image: 'builtin' });
  backend.spareDies(spare?.id ?? '', 'killed by somebody');
  await expect.poll(() => runtime.warm.list()).toEqual([]);
  await expectNoLeaks(fixture);
  expect(await begin(runtime, 'a')).toEqual([]);
  expect(warnings).toEqual([`the warm machine ${spare?.id} ended by itself: killed by somebody`]);
});

test('many starts at once share what there is: none is given twice', async () => {
  await using fixture = await openFixture();
  const { runtime } = fixture;
  await runtime.warm.fill({ image: 'builtin', count: 3 });
  await runtime.warm.fill({ count: 2 });
  const ids = Array.from({ length: 8 }, (_, index) => `vm-${index}`);
  for (const id of ids) await runtime.create({ id, image: 'builtin' });
  await Promise.all(ids.map((id) => runtime.start(id)));
  const given = taken(fixture).map(({ about }) => about);
  expect(given).toHaveLength(5);
  expect(new Set(given).size).toBe(5);
  await expectNoLeaks(fixture);
});

test('warm machines are no reason to refuse a VM: they are given up for it', async () => {
  await using fixture = await openFixture({ limits: { memoryMiB: 1024 } });
  const { runtime } = fixture;
  await runtime.warm.fill({ count: 1, memoryMiB: 256 });
  await runtime.create({ id: 'a', image: 'other', memoryMiB: 1024 });
  await runtime.start('a');
  expect(await runtime.warm.list()).toEqual([]);
  expect(await runtime.warm.stats()).toMatchObject({ givenUp: { room: 1 } });
  await expect(runtime.warm.fill({ image: 'builtin' })).rejects.toMatchObject({ code: 'AtCapacity' });
  await runtime.create({ id: 'b', image: 'other' });
  await expect(runtime.start('b')).rejects.toMatchObject({
    code: 'AtCapacity',
    details: { limit: 'memoryMiB', max: 1024, asked: 256, taken: 1024 },
  });
  await expectNoLeaks(fixture);
});

test('the memory of a machine that is taken is the VM’s', async () => {
  await using fixture = await openFixture({ limits: { memoryMiB: 1024 } });
  const { runtime } = fixture;
  await runtime.create({ id: 'a', image: 'builtin', memoryMiB: 768 });
  await runtime.start('a');
  await runtime.warm.fill({ image: 'other' });
  await begin(runtime, 'b', 'other');
  expect(await runtime.warm.stats()).toMatchObject({ claims: { image: 1 }, givenUp: { room: 0 } });
  expect(runtime.capacity.taken.memoryMiB).toBe(1024);
});

test('nothing is given up for a VM that has no room with all of it', async () => {
  await using fixture = await openFixture({ limits: { memoryMiB: 1024 } });
  const { runtime } = fixture;
  await runtime.create({ id: 'a', image: 'builtin', memoryMiB: 512 });
  await runtime.start('a');
  const filled = await runtime.warm.fill({ memoryMiB: 256 });
  await runtime.create({ id: 'b', image: 'builtin', memoryMiB: 768 });
  await expect(runtime.start('b')).rejects.toMatchObject({
    code: 'AtCapacity',
    details: { taken: 512 },
  });
  expect(await runtime.warm.list()).toEqual(filled);
});

test('one that is just being made gives way, too, and whoever fills is told', async () => {
  await using fixture = await openFixture({ limits: { memoryMiB: 1024 } });
  const { runtime, backend } = fixture;
  await runtime.create({ id: 'a', image: 'builtin', memoryMiB: 1024 });
  const hung = backend.hang('make-spare.middle');
  const fill = runtime.warm.fill({ memoryMiB: 128 });
  fill.catch(() => undefined);
  await hung.reached;
  await runtime.start('a');
  await expect(fill).rejects.toMatchObject({
    code: 'Cancelled',
    message: expect.stringContaining('its room was needed'),
  });
  await expectNoLeaks(fixture);
});

const bounds: [name: string, warm: Partial<WarmOptions>, limit: string][] = [
  ['so many', { max: 2 }, 'warm.max'],
  ['so much memory', { memoryMiB: 700 }, 'warm.memoryMiB'],
];

test.for(bounds)('only %s may wait; what is beyond is refused', async ([, warm, limit]) => {
  await using fixture = await openFixture({ warm });
  const { runtime } = fixture;
  await runtime.warm.fill({ count: 2 });
  await expect(runtime.warm.fill({})).rejects.toMatchObject({ code: 'AtCapacity', details: { limit } });
  expect(await runtime.warm.list()).toHaveLength(2);
  const reopened = await fixture.reopen({ warm: { max: 1 } });
  expect(await reopened.warm.list()).toHaveLength(1);
  await expectNoLeaks(fixture);
});

test('where the host is short of memory or disk none is made by hand', async () => {
  let room = { memoryMiB: 700, diskMiB: 5000 };
  await using fixture = await openFixture({ hostRoom: () => room });
  const { runtime } = fixture;
  await expect(runtime.warm.fill({ memoryMiB: 256 })).rejects.toMatchObject({
    code: 'AtCapacity',
    details: { limit: 'warm.minFreeMemoryMiB', max: 512, taken: 700 },
  });
  room = { memoryMiB: 768, diskMiB: 1000 };
  await expect(runtime.warm.fill({ memoryMiB: 256 })).rejects.toMatchObject({
    details: { limit: 'warm.minFreeDiskMiB' },
  });
  room = { memoryMiB: 768, diskMiB: 5000 };
  expect(await runtime.warm.fill({ memoryMiB: 256 })).toHaveLength(1);
});

test('one that cannot be made leaves nothing; those before it stay', async () => {
  await using fixture = await openFixture();
  const { runtime, backend } = fixture;
  for (const place of ['begin', 'middle', 'end'] as const) {
    backend.fail(`make-spare.${place}`, new Error('no luck'));
    await expect(runtime.warm.fill({ image: 'builtin' })).rejects.toThrow('no luck');
  }
  expect(await runtime.warm.list()).toEqual([]);
  await runtime.warm.fill({ image: 'builtin' });
  await expectNoLeaks(fixture);
  expect(await runtime.warm.stats()).toMatchObject({ made: 1, failed: 3 });
});

const badSpecs: [name: string, spec: Parameters<VmRuntime['warm']['fill']>[0], field: string][] = [
  ['none', { count: 0 }, 'count'],
  ['more than may ever wait', { count: 9 }, 'count'],
  ['an image and a snapshot', { image: 'builtin', snapshot: 'a/b' }, 'image'],
  ['a shape for a snapshot', { memoryMiB: 512, snapshot: 'a/b' }, 'memoryMiB'],
  ['too small a machine', { memoryMiB: 1 }, 'memoryMiB'],
  ['an unknown field', { colour: 'red' } as object, 'colour'],
];

test.for(badSpecs)('to fill with %s is refused', async ([, spec, field]) => {
  await using fixture = await openFixture();
  await expect(fixture.runtime.warm.fill(spec)).rejects.toMatchObject({
    code: 'InvalidInput',
    details: { field },
  });
});

test('a snapshot without memory has nothing to make ahead', async () => {
  await using fixture = await openFixture();
  const { runtime } = fixture;
  await runtime.create({ id: 'a', image: 'builtin' });
  await runtime.snapshot('a', { id: 's' });
  await expect(runtime.warm.fill({ snapshot: 'a/s' })).rejects.toMatchObject({ code: 'InvalidInput' });
  await expect(runtime.warm.fill({ snapshot: 'a/none' })).rejects.toMatchObject({
    code: 'SnapshotNotFound',
  });
});

test('a backend that makes none says so, and starts as ever', async () => {
  await using fixture = await openFixture({ backendOptions: { spares: 'no' }, warm: { pool: 'on' } });
  await expect(fixture.runtime.warm.fill({})).rejects.toMatchObject({ code: 'Unsupported' });
  await begin(fixture.runtime, 'a');
  expect(await fixture.runtime.warm.stats()).toMatchObject({ misses: 0 });
});

test('spares of what was removed go with it', async () => {
  await using fixture = await openFixture();
  const { runtime, images } = fixture;
  await begin(runtime, 'a');
  await runtime.snapshot('a', { id: 's' });
  await runtime.warm.fill({ snapshot: 'a/s' });
  await runtime.warm.fill({ image: 'other' });
  await runtime.warm.fill({ image: 'builtin' });
  await runtime.snapshots.remove('a/s');
  const other = await images.resolve('other');
  await runtime.removeImage(other.digest, async () => images.drop('other'));
  expect((await runtime.warm.list()).map(({ image }) => image?.reference)).toEqual(['builtin']);
  expect(await runtime.warm.stats()).toMatchObject({ givenUp: { stale: 2 } });
  images.drop('builtin');
  expect(await (await fixture.reopen()).warm.list()).toEqual([]);
  await expectNoLeaks(fixture);
});

test('what an engine finds that is not whole is ended; a directory that nobody knows goes', async () => {
  await using fixture = await openFixture();
  const [whole, half, lost] = await fixture.runtime.warm.fill({ count: 3 });
  const dir = (id: string | undefined) => join(fixture.root, 'spares', id ?? '');
  rmSync(join(dir(half?.id), 'spare.json'));
  rmSync(dir(lost?.id), { recursive: true });
  fixture.database.prepare('DELETE FROM spares WHERE id = ?').run(whole?.id ?? '');
  const runtime = await fixture.reopen();
  expect(runtime.mended.toSorted()).toEqual(
    [
      `warm machine ${whole?.id}: removed it, which no record knew`,
      `warm machine ${half?.id}: removed what was left of it`,
      `warm machine ${lost?.id}: removed what was left of it`,
    ].toSorted(),
  );
  expect(fixture.backend.waiting).toEqual([]);
  await expectNoLeaks(fixture);
});

test('one that cannot be looked after now is left for the next opening, and stops nobody', async () => {
  await using fixture = await openFixture();
  const [spare] = await fixture.runtime.warm.fill({});
  await fixture.runtime.close();
  fixture.backend.fail('recover-spare.begin', new Error('no answer'));
  const runtime = await fixture.crash();
  expect(runtime.mended).toEqual([`warm machine ${spare?.id}: could not be found again: no answer`]);
  await begin(runtime, 'a');
  expect(await (await fixture.reopen()).warm.list()).toEqual([spare]);
});

test('one that cannot be ended is said, and found again', async () => {
  await using fixture = await openFixture();
  const [spare] = await fixture.runtime.warm.fill({});
  fixture.backend.fail('dispose-spare.begin', new Error('it resists'));
  await fixture.runtime.warm.drop();
  expect(fixture.warnings).toEqual([`could not end the warm machine ${spare?.id}: it resists`]);
  expect(existsSync(join(fixture.root, 'spares', spare?.id ?? ''))).toBe(true);
  expect(await (await fixture.reopen()).warm.list()).toEqual([spare]);
});

test('closing ends a fill; what it was making is gone, what it made stays', async () => {
  await using fixture = await openFixture();
  const hung = fixture.backend.hang('make-spare.middle');
  const fill = fixture.runtime.warm.fill({ count: 2 });
  fill.catch(() => undefined);
  await hung.reached;
  const runtime = await fixture.reopen();
  await expect(fill).rejects.toMatchObject({ code: 'Cancelled' });
  expect(await runtime.warm.list()).toEqual([]);
  await expectNoLeaks(fixture);
});
