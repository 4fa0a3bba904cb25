/** What a restore or a crash of the host leaves on the line, with the real agent at its other end. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RealAgent } from '../../test/guest/real-agent.ts';
import { Relay } from '../../test/guest/relay.ts';
import { connectGuest } from './connect-guest.ts';
import { runCommand } from './run-command.ts';

let agent: RealAgent;
let relay: Relay;

beforeAll(async () => {
  agent = new RealAgent();
  relay = await Relay.between(agent.socketPath);
});

afterAll(async () => {
  await relay[Symbol.asyncDispose]();
  await agent[Symbol.asyncDispose]();
});

const connecting = () => connectGuest({ socketPath: relay.socketPath, line: 'stale', deadlineMs: 20_000 });

test.each(
  // Inside the header, the payload and the trailer of requests and of data, and between them.
  [1, 15, 16, 30, 60, 100, 1_000, 65_000, 65_536, 65_600, 65_700, 131_000, 200_000, 262_000],
)(
  'a host that is lost after %d bytes, with much under way both ways, is followed by one that works',
  async (bytes) => {
    const path = join(agent.dir, 'half-written');
    const lost = await connecting();
    await lost.files.write(path, 'old');
    relay.passFromHost = bytes;
    const underWay = [
      lost.files.write(path, Buffer.alloc(1_000_000, 'n')),
      runCommand(lost, { command: 'yes | head -c 3000000' }),
      runCommand(lost, { command: 'sleep 1000', input: Buffer.alloc(500_000) }),
    ];
    const settled = Promise.allSettled(underWay);
    await new Promise((resolve) => setImmediate(resolve));
    await lost[Symbol.asyncDispose]();
    for (const result of await settled) expect(result.status).toBe('rejected');

    relay.passFromHost = Number.POSITIVE_INFINITY;
    await using guest = await connecting();
    expect(await runCommand(guest, { command: 'cat', input: 'in step' })).toMatchObject({
      stdout: 'in step',
    });
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(agent.dir)).toEqual(['half-written']);
  },
);

test('commands of a host that is lost are gone before the next one is answered', async () => {
  const lost = await connecting();
  const process = await lost.exec({ command: 'exec sleep 1000' });
  expect(existsSync(`/proc/${process.pid}/exe`)).toBe(true);
  await lost[Symbol.asyncDispose]();
  await using _ = await connecting();
  expect(existsSync(`/proc/${process.pid}/exe`)).toBe(false);
});
