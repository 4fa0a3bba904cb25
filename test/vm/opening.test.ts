import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { AlcoveError } from '../../src/errors.ts';
import { openFixture } from './runtime-fixture.ts';

test('opening looks only at VMs that ran', async () => {
  await using fixture = await openFixture();
  for (const id of ['a', 'b', 'c']) await fixture.runtime.create({ id, image: 'builtin' });
  await fixture.runtime.start('b');
  await fixture.runtime.close();
  const from = fixture.backend.log.length;
  await fixture.crash();
  expect(fixture.backend.log.slice(from)).toEqual([{ vm: 'b', call: 'recover' }]);
});

test('a VM that cannot be found again stops nobody else, and is found later', async () => {
  await using fixture = await openFixture();
  for (const id of ['a', 'b']) {
    await fixture.runtime.create({ id, image: 'builtin' });
    await fixture.runtime.start(id);
  }
  fixture.backend.fail('recover.middle', new Error('out of luck'), { vm: 'a' });
  const runtime = await fixture.reopen();
  expect(runtime.mended).toEqual(['VM a: could not be found again: out of luck']);
  expect(await runtime.list()).toMatchObject([{ status: 'running' }, { status: 'running' }]);
  expect((await runtime.exec('a', { command: 'echo still here' })).stdout).toBe('still here\n');
});

test('a VM that can never be found again can still be destroyed', async () => {
  await using fixture = await openFixture();
  await fixture.runtime.create({ id: 'a', image: 'builtin' });
  await fixture.runtime.start('a');
  fixture.backend.fail('recover.begin', new Error('out of luck'), { times: 100 });
  const runtime = await fixture.reopen();
  await expect(runtime.stop('a')).rejects.toThrow('out of luck');
  await runtime.destroy('a');
  expect(fixture.backend.running).toEqual([]);
});

test('a VM whose machine stays silent keeps its status, and a stop ends it by force with its disk kept', async () => {
  await using fixture = await openFixture();
  await fixture.runtime.create({ id: 'a', image: 'builtin' });
  await fixture.runtime.start('a');
  await fixture.runtime.exec('a', { command: 'write /root/note kept' });
  await fixture.runtime.exec('a', { command: 'sync' });
  const silent = new AlcoveError('VmFailed', 'a runs, but does not answer');
  fixture.backend.fail('recover.begin', silent, { times: 3 });
  const runtime = await fixture.reopen();
  expect(runtime.mended).toEqual(['VM a: could not be found again: a runs, but does not answer']);
  await expect(runtime.exec('a', { command: 'echo' })).rejects.toBe(silent);
  expect(await runtime.get('a')).toMatchObject({ status: 'running' });
  expect(fixture.backend.running).toEqual(['a']);
  expect(await runtime.stop('a')).toMatchObject({ status: 'stopped' });
  expect(fixture.warnings).toEqual(['VM a is ended by force: a runs, but does not answer']);
  expect(fixture.backend.running).toEqual([]);
  expect(runtime.capacity.taken.memoryMiB).toBe(0);
  await runtime.start('a');
  expect((await runtime.exec('a', { command: 'cat /root/note' })).stdout).toBe('kept');
});

test('a VM whose image is gone says so when it is needed, and can be destroyed', async () => {
  await using fixture = await openFixture();
  await fixture.runtime.create({ id: 'a', image: 'other' });
  fixture.images.drop('other');
  const runtime = await fixture.reopen();
  await expect(runtime.start('a')).rejects.toMatchObject({ code: 'ImageNotFound' });
  expect(runtime.capacity.taken.memoryMiB).toBe(0);
  await runtime.destroy('a');
});

test('directories that no record knows are ended and removed, and records without a directory end', async () => {
  await using fixture = await openFixture();
  await fixture.runtime.create({ id: 'a', image: 'builtin' });
  mkdirSync(join(fixture.root, 'vms', 'stray'));
  mkdirSync(join(fixture.root, 'snapshots', 'stray'));
  rmSync(join(fixture.root, 'vms', 'a'), { recursive: true });
  const runtime = await fixture.reopen();
  expect(runtime.mended).toEqual([
    'VM a: is destroyed, because its files were gone',
    'VM stray: removed its directory, which no record knew',
    'removed the snapshot directory stray, which no record knew',
  ]);
  expect(fixture.backend.log).toContainEqual({ vm: 'stray', call: 'reap' });
  expect(await runtime.get('a')).toMatchObject({ status: 'destroyed', reason: 'its files were gone' });
  expect((await fixture.reopen()).mended).toEqual([]);
});

test('destroyed VMs stay listed for their time, over restarts, and then their ids are free', async () => {
  await using fixture = await openFixture();
  await fixture.runtime.create({ id: 'a', image: 'builtin' });
  await fixture.runtime.destroy('a');
  await fixture.clock.advance(3_599_999);
  const runtime = await fixture.reopen();
  expect(await runtime.list()).toMatchObject([{ id: 'a', status: 'destroyed' }]);
  expect(await runtime.list({ destroyed: 'leave-out' })).toEqual([]);
  await expect(runtime.create({ id: 'a', image: 'builtin' })).rejects.toMatchObject({
    code: 'VmAlreadyExists',
  });
  await fixture.clock.advance(1);
  expect(await runtime.list()).toEqual([]);
  expect(await runtime.get('a')).toBeUndefined();
  await runtime.create({ id: 'a', image: 'builtin' });
});

test('closing ends what is under way, lets the machines run, and takes no more calls', async () => {
  await using fixture = await openFixture();
  const { runtime, backend } = fixture;
  for (const id of ['a', 'b']) await runtime.create({ id, image: 'builtin' });
  await runtime.start('a');
  backend.hang('start.middle', { vm: 'b' });
  const closed = { code: 'Cancelled' };
  const starting = expect(runtime.start('b')).rejects.toMatchObject(closed);
  const waiting = expect(runtime.stop('b')).rejects.toMatchObject(closed);
  const watching = expect(runtime.exited('a')).rejects.toMatchObject(closed);
  await runtime.close();
  await Promise.all([starting, waiting, watching]);
  expect(backend.running).toEqual(['a']);
  await expect(runtime.start('b')).rejects.toMatchObject(closed);
  await expect(runtime.list()).rejects.toMatchObject(closed);
  expect((await fixture.reopen()).mended).toEqual([]);
});

test('a command’s time runs while its VM is busy', async () => {
  await using fixture = await openFixture();
  const { runtime, backend, clock } = fixture;
  await runtime.create({ id: 'a', image: 'builtin' });
  await runtime.start('a');
  const hung = backend.hang('snapshot.middle');
  const snapshot = runtime.snapshot('a');
  await hung.reached;
  const late = expect(runtime.exec('a', { command: 'echo late', timeoutMs: 100 })).rejects.toMatchObject({
    code: 'CommandTimedOut',
    details: { timeoutMs: 100 },
  });
  const early = runtime.exec('a', { command: 'echo early', timeoutMs: 1000 });
  await clock.advance(100);
  await late;
  hung.release();
  await snapshot;
  expect((await early).stdout).toBe('early\n');
  expect(backend.log.filter(({ call }) => call === 'exec')).toEqual([
    { vm: 'a', call: 'exec', about: 'echo early' },
  ]);
});

test('an id is free again although what a crash left of its machine could not be removed at once', async () => {
  await using fixture = await openFixture({
    failpoint: (name) => (name === 'create.made' ? new Promise<void>(() => undefined) : undefined),
  });
  void fixture.runtime.create({ id: 'a', image: 'builtin' }).catch(() => undefined);
  await vi.waitFor(() => expect(fixture.backend.log).toContainEqual({ vm: 'a', call: 'create' }));
  fixture.backend.fail('reap.begin', new Error('not now'), { times: 2 });
  const runtime = await fixture.crash({ failpoint: () => undefined });
  expect(runtime.mended).toContain('VM a: has no record, and could not be removed: not now');
  await runtime.create({ id: 'a', image: 'builtin' });
  await runtime.start('a');
});
