import { expect, test } from 'vitest';
import { openFixture } from './runtime-fixture.ts';

test('a VM is made, used, kept, copied and destroyed', async () => {
  await using fixture = await openFixture();
  const { runtime } = fixture;
  expect(await runtime.create({ id: 'web', image: 'builtin', env: { A: '1' } })).toMatchObject({
    id: 'web',
    status: 'created',
    backend: 'memory',
    cpus: 1,
    memoryMiB: 256,
    diskMiB: 2048,
    network: 'none',
    env: { A: '1' },
    snapshots: [],
  });
  expect(await runtime.start('web')).toMatchObject({ status: 'running' });
  expect(await runtime.exec('web', { command: 'write /root/note hello' })).toMatchObject({ exitCode: 0 });
  await runtime.exec('web', { command: 'remember mood good' });
  expect(await runtime.exec('web', { command: 'env' })).toMatchObject({
    stdout: expect.stringContaining('FROM_IMAGE=builtin\nLANG=C\nA=1\n'),
  });

  const snapshot = await runtime.snapshot('web', { id: 'first' });
  expect(snapshot).toMatchObject({ ref: 'web/first', kind: 'disk+memory' });
  await runtime.exec('web', { command: 'write /root/note changed' });
  expect(await runtime.restore('web/first', { id: 'copy' })).toMatchObject({
    status: 'created',
    from: 'web/first',
  });
  await runtime.start('copy');
  expect((await runtime.exec('copy', { command: 'cat /root/note' })).stdout).toBe('hello');
  expect((await runtime.exec('copy', { command: 'recall mood' })).stdout).toBe('good\n');

  const forks = await runtime.fork('web', 2, { ids: ['a', 'b'], start: 'yes' });
  expect(forks).toMatchObject([
    { id: 'a', vm: { status: 'running' } },
    { id: 'b', vm: { status: 'running' } },
  ]);
  expect((await runtime.exec('b', { command: 'cat /root/note' })).stdout).toBe('changed');

  await runtime.stop('web');
  expect(await runtime.get('web')).toMatchObject({
    status: 'stopped',
    snapshots: ['first', expect.any(String)],
  });
  const reopened = await fixture.reopen();
  expect(reopened.mended).toEqual([]);
  expect((await reopened.exec('copy', { command: 'recall mood' })).stdout).toBe('good\n');
  for (const id of ['web', 'copy', 'a', 'b']) await reopened.destroy(id);
  expect(await reopened.list({ destroyed: 'leave-out' })).toEqual([]);
  expect((await reopened.snapshots.list()).map(({ ref }) => ref)).toEqual(['web/first']);
  expect(fixture.backend.running).toEqual([]);
  expect(fixture.warnings).toEqual([]);
});
