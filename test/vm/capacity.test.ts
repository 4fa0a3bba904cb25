import fc from 'fast-check';
import { expect, test } from 'vitest';
import { openFixture } from './runtime-fixture.ts';

test('VMs that are being made count', async () => {
  await using fixture = await openFixture({ limits: { vms: 2 } });
  const { runtime, backend } = fixture;
  const hung = backend.hang('create.middle', { vm: 'a' });
  const first = runtime.create({ id: 'a', image: 'builtin' });
  await hung.reached;
  await runtime.create({ id: 'b', image: 'builtin' });
  await expect(runtime.create({ id: 'c', image: 'builtin' })).rejects.toMatchObject({
    code: 'AtCapacity',
    details: { limit: 'vms', max: 2, asked: 1, taken: 2 },
  });
  hung.release();
  await first;
  await runtime.destroy('a');
  await runtime.create({ id: 'c', image: 'builtin' });
});

test('a refused VM has left nothing behind, and nobody asked the backend for it', async () => {
  await using fixture = await openFixture({ limits: { diskMiB: 2047 } });
  await expect(fixture.runtime.create({ id: 'a', image: 'builtin' })).rejects.toMatchObject({
    code: 'AtCapacity',
    details: { limit: 'diskMiB', max: 2047, asked: 2048, taken: 0 },
  });
  expect(fixture.backend.log).toEqual([]);
  expect(await fixture.runtime.get('a')).toBeUndefined();
  expect(fixture.runtime.capacity.taken).toEqual({ vms: 0, memoryMiB: 0, diskMiB: 0 });
});

test('memory is held by VMs that start, run or are paused, and by no others', async () => {
  await using fixture = await openFixture({ limits: { memoryMiB: 600 } });
  const { runtime, backend } = fixture;
  for (const id of ['a', 'b', 'c']) await runtime.create({ id, image: 'builtin' });
  const hung = backend.hang('start.middle', { vm: 'a' });
  const starting = runtime.start('a');
  await hung.reached;
  await runtime.start('b');
  await runtime.pause('b');
  const full = { code: 'AtCapacity', details: { limit: 'memoryMiB', max: 600, asked: 256, taken: 512 } };
  await expect(runtime.start('c')).rejects.toMatchObject(full);
  expect(await runtime.get('c')).toMatchObject({ status: 'created' });
  hung.release();
  await starting;
  await runtime.stop('a', { memory: true });
  await runtime.start('c');
  await expect(runtime.start('a')).rejects.toMatchObject(full);
  backend.dieByItself('c', 'killed');
  await runtime.start('a');
});

test('a start that fails gives its memory back', async () => {
  await using fixture = await openFixture({ limits: { memoryMiB: 256 } });
  const { runtime, backend } = fixture;
  await runtime.create({ id: 'a', image: 'builtin' });
  for (const place of ['begin', 'middle', 'end'] as const) {
    backend.fail(`start.${place}`, new Error('no luck'));
    await expect(runtime.start('a')).rejects.toThrow('no luck');
    expect(runtime.capacity.taken.memoryMiB).toBe(0);
  }
  expect(await runtime.start('a')).toMatchObject({ status: 'running' });
});

test('a machine that could never start is not made', async () => {
  await using fixture = await openFixture({ limits: { memoryMiB: 300 } });
  await expect(fixture.runtime.create({ image: 'builtin', memoryMiB: 512 })).rejects.toMatchObject({
    code: 'AtCapacity',
    details: { limit: 'memoryMiB', max: 300, asked: 512, taken: 0 },
  });
});

test('room is as before when an engine comes back', async () => {
  await using fixture = await openFixture({ limits: { vms: 3 } });
  for (const id of ['a', 'b', 'c']) await fixture.runtime.create({ id, image: 'builtin' });
  await fixture.runtime.start('a');
  const before = fixture.runtime.capacity;
  const runtime = await fixture.reopen();
  expect(runtime.capacity).toEqual(before);
  await expect(runtime.create({ image: 'builtin' })).rejects.toMatchObject({ code: 'AtCapacity' });
});

test('whoever asks for whatever at once: the limits are never passed, and all room comes back', async () => {
  const vm = fc.record({
    memoryMiB: fc.integer({ min: 64, max: 400 }),
    diskMiB: fc.integer({ min: 16, max: 400 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(vm, { minLength: 1, maxLength: 12 }), async (specs) => {
      const limits = { vms: 5, memoryMiB: 800, diskMiB: 1000 };
      let capacity = () => ({ vms: 0, memoryMiB: 0, diskMiB: 0 });
      const failpoint = () => {
        const taken = capacity();
        for (const limit of ['vms', 'memoryMiB', 'diskMiB'] as const)
          expect(taken[limit]).toBeLessThanOrEqual(limits[limit]);
        return undefined;
      };
      await using fixture = await openFixture({ databasePath: ':memory:', limits, failpoint });
      const { runtime } = fixture;
      capacity = () => runtime.capacity.taken;
      await Promise.allSettled(
        specs.map(async (spec, index) => {
          await runtime.create({ id: `vm-${index}`, image: 'builtin', ...spec });
          await runtime.start(`vm-${index}`);
        }),
      );
      expect(fixture.backend.running.length).toBe(
        (await runtime.list()).filter(({ status }) => status === 'running').length,
      );
      for (const { id } of await runtime.list()) await runtime.destroy(id);
      expect(capacity()).toEqual({ vms: 0, memoryMiB: 0, diskMiB: 0 });
    }),
    { numRuns: 60 },
  );
});
