import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import type { MemoryPoint } from '../../src/backends/memory/index.ts';
import { MemoryVm } from '../../src/backends/memory/memory-vm.ts';
import { AlcoveError } from '../../src/errors.ts';
import { openFixture, type RuntimeFixture } from './runtime-fixture.ts';

const points = ['begin', 'middle', 'end'] as const;

async function running(): Promise<RuntimeFixture> {
  const fixture = await openFixture();
  await fixture.runtime.create({ id: 'vm', image: 'builtin' });
  await fixture.runtime.start('vm');
  return fixture;
}

describe('a call that fails', () => {
  test.for(points)('create, at its %s, leaves nothing', async (place) => {
    await using fixture = await openFixture();
    const error = new Error('no luck');
    fixture.backend.fail(`create.${place}`, error);
    await expect(fixture.runtime.create({ id: 'vm', image: 'builtin' })).rejects.toBe(error);
    expect(await fixture.runtime.get('vm')).toBeUndefined();
    expect(readdirSync(join(fixture.root, 'vms'))).toEqual([]);
    expect(fixture.runtime.capacity.taken.vms).toBe(0);
    await fixture.runtime.create({ id: 'vm', image: 'builtin' });
  });

  test.for(points)('snapshot, at its %s, leaves the VM running and no files', async (place) => {
    await using fixture = await running();
    fixture.backend.fail(`snapshot.${place}`, new Error('no luck'));
    await expect(fixture.runtime.snapshot('vm', { id: 's' })).rejects.toThrow('no luck');
    expect(await fixture.runtime.get('vm')).toMatchObject({ status: 'running', snapshots: [] });
    expect(readdirSync(join(fixture.root, 'snapshots'))).toEqual([]);
    expect(await fixture.runtime.snapshot('vm', { id: 's' })).toMatchObject({ id: 's' });
  });

  test.for<[MemoryPoint, string]>([
    ['start.end', 'created'],
    ['pause.end', 'running'],
    ['stop.middle', 'running'],
    ['stop.end', 'stopped'],
    ['destroy.begin', 'running'],
    ['destroy.middle', 'stopped'],
  ])('%s leaves the VM %s, which is what it is', async ([point, status]) => {
    await using fixture = point === 'start.end' ? await openFixture() : await running();
    const { runtime, backend } = fixture;
    if (point === 'start.end') await runtime.create({ id: 'vm', image: 'builtin' });
    backend.fail(point, new Error('no luck'));
    const call = point.slice(0, point.indexOf('.')) as 'start' | 'pause' | 'stop' | 'destroy';
    await expect(runtime[call]('vm')).rejects.toThrow('no luck');
    expect(await runtime.get('vm')).toMatchObject({
      status,
      ...(status === 'stopped' && { reason: 'no luck' }),
    });
    expect(backend.running).toEqual(status === 'running' ? ['vm'] : []);
    await runtime.destroy('vm');
    expect(readdirSync(join(fixture.root, 'vms'))).toEqual([]);
  });

  test('when nobody can say what became of it, the VM keeps its status, and can be stopped', async () => {
    await using fixture = await running();
    const { runtime, backend } = fixture;
    const silent = new AlcoveError('VmFailed', 'no answer');
    backend.fail('pause.end', silent);
    using _observe = vi.spyOn(MemoryVm.prototype, 'observe').mockRejectedValue(silent);
    await expect(runtime.pause('vm')).rejects.toBe(silent);
    expect(await runtime.get('vm')).toMatchObject({ status: 'running' });
    await expect(runtime.exec('vm', { command: 'echo' })).rejects.toBe(silent);
    expect(await runtime.stop('vm')).toMatchObject({ status: 'stopped' });
    expect(backend.running).toEqual([]);
  });

  /** Ends the machine, and fails once over its directory. */
  async function halfDestroyed(): Promise<RuntimeFixture> {
    let times = 1;
    const fixture = await openFixture({
      failpoint: async (name) => {
        if (name !== 'destroy.ended' || times-- <= 0) return;
        throw new Error('no luck');
      },
    });
    await fixture.runtime.create({ id: 'vm', image: 'builtin' });
    await fixture.runtime.start('vm');
    await expect(fixture.runtime.destroy('vm')).rejects.toThrow('no luck');
    return fixture;
  }

  async function expectDestroyed({ root, runtime, database }: RuntimeFixture): Promise<void> {
    expect(await runtime.get('vm')).toMatchObject({ status: 'destroyed' });
    expect(readdirSync(join(root, 'vms'))).toEqual([]);
    expect(database.prepare('SELECT * FROM vm_journal').all()).toEqual([]);
    expect(runtime.capacity.taken).toEqual({ vms: 0, memoryMiB: 0, diskMiB: 0 });
  }

  test.for<[string, (fixture: RuntimeFixture) => Promise<unknown>]>([
    ['the next destroy', ({ runtime }) => runtime.destroy('vm')],
    ['the next opening', (fixture) => fixture.reopen()],
    ['whatever else is called', ({ runtime }) => expect(runtime.start('vm')).rejects.toThrow('destroyed')],
  ])('destroy that failed over the files is finished by %s', async ([, next]) => {
    await using fixture = await halfDestroyed();
    await next(fixture);
    await expectDestroyed(fixture);
  });

  test('destroy can be repeated until it succeeds', async () => {
    await using fixture = await running();
    for (const place of points) {
      fixture.backend.fail(`destroy.${place}`, new Error(place));
      await expect(fixture.runtime.destroy('vm')).rejects.toThrow(place);
    }
    await fixture.runtime.destroy('vm');
    expect(await fixture.runtime.get('vm')).toMatchObject({ status: 'destroyed' });
    expect(fixture.runtime.capacity.taken.vms).toBe(0);
  });

  test('one fork of several fails alone', async () => {
    await using fixture = await running();
    fixture.backend.fail('restore.middle', new Error('no luck'), { vm: 'b' });
    fixture.backend.fail('start.middle', new Error('no start'), { vm: 'c' });
    const forks = await fixture.runtime.fork('vm', 3, { ids: ['a', 'b', 'c'], start: 'yes' });
    expect(forks).toMatchObject([
      { id: 'a', vm: { status: 'running' } },
      { id: 'b', error: { message: 'no luck' } },
      { id: 'c', error: { message: 'no start' } },
    ]);
    expect(await fixture.runtime.get('b')).toBeUndefined();
    expect(await fixture.runtime.get('c')).toMatchObject({ status: 'destroyed' });
    expect(readdirSync(join(fixture.root, 'vms'))).toEqual(['a', 'vm']);
  });

  test('forks that all fail leave no snapshot', async () => {
    await using fixture = await running();
    fixture.backend.fail('restore.begin', new Error('no luck'), { times: 2 });
    await fixture.runtime.fork('vm', 2);
    expect(await fixture.runtime.snapshots.list()).toEqual([]);
    expect(readdirSync(join(fixture.root, 'snapshots'))).toEqual([]);
  });

  test.for([
    [0, undefined, 'count'],
    [1.5, undefined, 'count'],
    [2, ['a'], 'ids'],
    [2, ['a', 'a'], 'ids'],
    [1, ['A'], 'ids'],
  ] as const)('a fork of %j as %j is refused, and %s named', async ([count, ids, field]) => {
    await using fixture = await running();
    await expect(fixture.runtime.fork('vm', count, ids ? { ids } : {})).rejects.toMatchObject({
      code: 'InvalidInput',
      details: { field },
    });
    expect(await fixture.runtime.snapshots.list()).toEqual([]);
  });
});

describe('a machine that dies', () => {
  test('under a call is heard of at once, though the call is still at work', async () => {
    await using fixture = await running();
    const { runtime, backend } = fixture;
    const hung = backend.hang('snapshot.middle');
    const snapshot = runtime.snapshot('vm', { id: 's' });
    const heard = expect(snapshot).rejects.toMatchObject({ code: 'VmFailed', details: { reason: 'killed' } });
    await hung.reached;
    backend.dieByItself('vm', 'killed');
    await heard;
    expect(await runtime.get('vm')).toMatchObject({ status: 'stopped', reason: 'killed' });
    const next = runtime.start('vm'); // Not before the backend has finished with the snapshot.
    expect(backend.log.at(-1)).toMatchObject({ call: 'snapshot' });
    hung.release();
    expect(await next).toMatchObject({ status: 'running' });
    expect(await runtime.snapshots.list()).toEqual([]);
  });

  test('while it starts does not come up', async () => {
    await using fixture = await openFixture();
    const { runtime, backend } = fixture;
    await runtime.create({ id: 'vm', image: 'builtin' });
    const hung = backend.hang('start.end');
    const start = runtime.start('vm');
    await hung.reached;
    backend.dieByItself('vm', 'killed');
    hung.release();
    await expect(start).rejects.toThrow();
    expect(await runtime.get('vm')).toMatchObject({ status: 'created' });
    expect(runtime.capacity.taken.memoryMiB).toBe(0);
  });

  test('ends the command in it, and the waiting for its end', async () => {
    await using fixture = await running();
    const { runtime, backend } = fixture;
    backend.script('forever', { hang: 'until-killed', stdout: 'up' });
    await using process = await runtime.spawn('vm', { command: 'forever' });
    const exited = runtime.exited('vm');
    backend.dieByItself('vm', 'killed');
    await expect(process.exited).rejects.toMatchObject({ code: 'VmFailed', details: { reason: 'killed' } });
    expect(await exited).toBe('killed');
    expect(await runtime.exited('vm')).toBe('killed');
  });

  test('is not the end that was asked for', async () => {
    await using fixture = await running();
    const { runtime, backend } = fixture;
    backend.script('forever', { hang: 'until-killed' });
    await using process = await runtime.spawn('vm', { command: 'forever' });
    const gone = expect(process.exited).rejects.toMatchObject({ code: 'GuestUnreachable' });
    const waiting = expect(runtime.exited('vm')).rejects.toMatchObject({ code: 'VmNotFound' });
    await runtime.stop('vm');
    await gone;
    expect(await runtime.get('vm')).not.toHaveProperty('reason');
    await runtime.destroy('vm');
    await waiting;
  });
});

describe('what a backend lacks', () => {
  test('a backend that cannot be used says so, and is asked again', async () => {
    const unusable = { reason: 'there is no hypervisor', remedy: 'Install one.' };
    await using fixture = await openFixture({ backendOptions: { unusable } });
    for (let time = 0; time < 2; time++) {
      await expect(fixture.runtime.create({ image: 'builtin' })).rejects.toMatchObject({
        code: 'BackendUnavailable',
        remedy: 'Install one.',
      });
    }
    expect(fixture.runtime.capacity.taken.vms).toBe(0);
  });

  test('what was asked for by name and cannot be is refused, and nothing less is done', async () => {
    await using fixture = await openFixture({ backendOptions: { capabilities: {} } });
    const { runtime } = fixture;
    const unsupported = (capability: string) => ({ code: 'Unsupported', details: { capability } });
    await expect(runtime.create({ image: 'builtin', network: 'user' })).rejects.toMatchObject(
      unsupported('userNetwork'),
    );
    await runtime.create({ id: 'vm', image: 'builtin' });
    await runtime.start('vm');
    await expect(runtime.pause('vm')).rejects.toMatchObject(unsupported('pause'));
    await expect(runtime.stop('vm', { memory: true })).rejects.toMatchObject(unsupported('memorySnapshots'));
    await expect(runtime.snapshot('vm', { memory: 'include' })).rejects.toMatchObject(
      unsupported('memorySnapshots'),
    );
    expect(await runtime.get('vm')).toMatchObject({ status: 'running', snapshots: [] });
    expect(await runtime.snapshot('vm')).toMatchObject({ kind: 'disk' });
  });

  test('an image that is not there is said before anything is made', async () => {
    await using fixture = await openFixture();
    await expect(fixture.runtime.create({ id: 'vm', image: 'none' })).rejects.toMatchObject({
      code: 'ImageNotFound',
    });
    expect(fixture.runtime.capacity.taken.vms).toBe(0);
    expect(fixture.backend.log).toEqual([]);
  });
});
