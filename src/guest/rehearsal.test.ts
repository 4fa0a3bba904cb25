import { expect, test } from 'vitest';
import { RealAgent } from '../../test/guest/real-agent.ts';
import { runCommand } from './run-command.ts';

test('a rehearsal goes as a command does, and nobody sees it', async () => {
  await using agent = new RealAgent();
  await using guest = await agent.connect();
  const command = runCommand(guest, { command: 'for i in 1 2 3 4 5; do sleep 0.02; echo $i; done' });
  await Promise.all([guest.rehearse({}), guest.rehearse({})]);
  expect(await command).toMatchObject({ exitCode: 0, stdout: '1\n2\n3\n4\n5\n' });
  expect(await guest.listDetached()).toEqual([]);
});

test('a rehearsal that its caller gives up is over', async () => {
  await using agent = new RealAgent();
  await using guest = await agent.connect();
  for (let after = 0; after < 20; after++) {
    const given = new AbortController();
    const outcome = guest.rehearse({}, { signal: given.signal }).then(
      () => 'done',
      ({ code }) => code,
    );
    for (let i = 0; i < after; i++) await guest.ping();
    given.abort();
    expect(['done', 'Cancelled']).toContain(await outcome);
  }
  await guest.rehearse({});
  expect(await runCommand(guest, { command: ['echo', 'fine'] })).toMatchObject({ stdout: 'fine\n' });
});

test.each([
  ['an image without a disk', { lowerSerial: 'image' }],
  ['disks, of a guest that has its root', { lowerSerial: 'image', upperSerial: 'disk' }],
])('a rehearsal with %s is refused', async (_name, request) => {
  await using agent = new RealAgent();
  await using guest = await agent.connect();
  await expect(guest.rehearse(request)).rejects.toMatchObject({
    code: 'InvalidInput',
    details: { field: 'upperSerial' },
  });
});
