import { expect, test } from 'vitest';
import { openSessionsFixture } from './sessions-fixture.ts';

test('a backup that begins while its session is being woken does not stand for what the session does then', async () => {
  const standing = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  let wakes = 0;
  await using fixture = await openSessionsFixture({
    backups: 'yes',
    failpoint: (name) => {
      if (name !== 'wake.recorded' || wakes++ > 0) return undefined;
      standing.resolve();
      return goOn.promise;
    },
  });
  const { sessions } = fixture;
  {
    await using lease = await sessions.acquire('web');
    await lease.exec('append notes before');
  }
  await sessions.stop('web');
  const acquiring = sessions.acquire('web');
  await standing.promise;
  await sessions.backup('web');
  goOn.resolve();
  {
    await using lease = await acquiring;
    await lease.exec('append notes after');
  }
  await sessions.stop('web');
  expect(await sessions.inspect('web')).toMatchObject({ status: 'stopped', state: 'not backed up' });
  await sessions.backup('web');
  expect(await sessions.inspect('web')).toMatchObject({ state: 'backed up' });
});

test('a stop waits for the snapshot of a backup, which is no use of the session', async () => {
  let stopping: Promise<void> | undefined;
  await using fixture = await openSessionsFixture({
    backups: 'yes',
    tell: (call) => {
      if (call === 'snapshot') stopping = sessions.stop('web');
      return undefined;
    },
  });
  const { sessions } = fixture;
  await (await sessions.acquire('web')).release();
  await sessions.backup('web');
  await expect(stopping).resolves.toBeUndefined();
  expect(await sessions.inspect('web')).toMatchObject({ status: 'stopped', state: 'not backed up' });
});
