import { existsSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeAgent, hello, tlvs, u32 } from '../../test/guest/fake-agent.ts';
import { ManualClock } from '../../test/guest/manual-clock.ts';
import { type ConnectGuestOptions, connectGuest } from './connect-guest.ts';
import { frameType, maxFrameBytes, nonceBytes, tag } from './protocol.ts';
import { encodeFrame } from './wire/frame.ts';

let agent: FakeAgent;
let clock: ManualClock;

beforeEach(() => {
  agent = new FakeAgent();
  clock = new ManualClock();
});

afterEach(async () => {
  await agent[Symbol.asyncDispose]();
  expect(clock.waiting).toBe(0);
});

const connecting = (options: Partial<ConnectGuestOptions> = {}) =>
  connectGuest({ socketPath: agent.socketPath, line: 'fresh', deadlineMs: 10_000, clock, ...options });

const failure = (code: string, message = /./) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

test('the agent says what it is', async () => {
  await agent.listen();
  await using guest = await connecting();
  expect(guest.hello).toEqual({
    protocol: 2,
    agentVersion: '0.1.0',
    bootId: '0123456789abcdef0123456789abcdef',
    ready: true,
    kernelRelease: '6.1.0',
  });
});

test('a socket that appears later is waited for', async () => {
  const guest = connecting();
  await clock.whenWaiting();
  expect(existsSync(agent.socketPath)).toBe(false);
  await agent.listen();
  await clock.advance(10);
  await using _ = await guest;
});

test('a fresh line gets a SYNC alone, a stale one zeros before it', async () => {
  await agent.listen();
  await (await connecting())[Symbol.asyncDispose]();
  expect(agent.strayBytes).toBe(0);
  await (await connecting({ line: 'stale' }))[Symbol.asyncDispose]();
  expect(agent.strayBytes).toBe(maxFrameBytes);
});

describe('while the guest boots', () => {
  test('SYNC is sent again with a new nonce until one is answered', async () => {
    await agent.listen();
    const answer = agent.onSync;
    agent.onSync = () => {};
    const guest = connecting();
    for (let sent = 1; sent <= 3; sent++) {
      await agent.until(() => agent.frames.length === sent);
      await clock.advance(250);
    }
    agent.onSync = answer;
    await clock.advance(250);
    await using _ = await guest;
    const nonces = agent.frames.map((frame) => frame.payload.subarray(0, nonceBytes).toString('hex'));
    expect(new Set(nonces).size).toBe(nonces.length);
  });

  test('an answer to any SYNC will do, and the answers to the others do no harm', async () => {
    await agent.listen();
    const answer = agent.onSync;
    const nonces: Buffer[] = [];
    agent.onSync = (nonce) => nonces.push(nonce);
    const connected = connecting();
    await agent.until(() => nonces.length === 1);
    await clock.advance(250);
    await agent.until(() => nonces.length === 2);
    agent.onFrame = (frame) => agent.send(frameType.RESULT, 0, frame.stream);
    for (const nonce of nonces) answer(nonce);
    await using guest = await connected;
    await guest.ping();
  });

  test('nothing more is sent than the guest takes', async () => {
    await agent.listen();
    agent.onSync = () => agent.stopReading();
    const before = process.memoryUsage().arrayBuffers;
    const connected = connecting({ deadlineMs: 1_000_000 });
    connected.catch(() => {});
    await agent.until(() => agent.frames.length === 1);
    await clock.advance(900_000);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 << 20);
    agent.hangUp();
    await expect(connected).rejects.toThrow(failure('GuestUnreachable'));
  });
});

describe('a line that stays silent', () => {
  test('after a restore is given up for a new connection, again and again', async () => {
    await agent.listen();
    const answer = agent.onSync;
    agent.onSync = () => {};
    const connected = connecting({ line: 'stale' });
    await agent.until(() => agent.frames.length === 1);
    await clock.advance(500);
    await agent.until(() => agent.connections === 2);
    await clock.advance(2_999);
    expect(agent.connections).toBe(2);
    await clock.advance(1);
    await agent.until(() => agent.connections === 3);
    agent.onSync = answer;
    await clock.advance(250);
    await using guest = await connected;
    expect(guest.hello.ready).toBe(true);
  });

  test('while the guest boots is not', async () => {
    await agent.listen();
    agent.onSync = () => {};
    const connected = connecting({ line: 'fresh', deadlineMs: 60_000 });
    connected.catch(() => {});
    await agent.until(() => agent.frames.length === 1);
    await clock.advance(60_000);
    await expect(connected).rejects.toThrow(failure('GuestUnreachable', /did not answer/));
    expect(agent.connections).toBe(1);
  });
});

test('what is on the line from before is passed over', async () => {
  await agent.listen();
  const answer = agent.onSync;
  agent.onSync = (nonce) => {
    agent.sendRaw(encodeFrame(frameType.DATA, 0, 7, Buffer.alloc(5_000)).subarray(3_000));
    agent.send(frameType.RESULT, 0, 7);
    agent.send(frameType.SYNC_ACK, 0, 0, Buffer.concat([Buffer.alloc(nonceBytes, 9), hello()]));
    answer(nonce);
  };
  await using guest = await connecting({ line: 'stale' });
  expect(guest.hello.ready).toBe(true);
});

describe('it fails', () => {
  test('when nobody listens in time', async () => {
    const guest = connecting({ deadlineMs: 100 });
    guest.catch(() => {});
    await clock.advance(100);
    await expect(guest).rejects.toThrow(failure('GuestUnreachable', /did not listen .* in time/));
  });

  test('when the guest does not answer in time', async () => {
    await agent.listen();
    agent.onSync = () => {};
    const guest = connecting({ deadlineMs: 1_000 });
    guest.catch(() => {});
    await agent.until(() => agent.frames.length === 1);
    await clock.advance(1_000);
    await expect(guest).rejects.toThrow(failure('GuestUnreachable', /did not answer within 1000 ms/));
  });

  test('when the guest hangs up', async () => {
    await agent.listen();
    agent.onSync = () => agent.hangUp();
    await expect(connecting()).rejects.toThrow(failure('GuestUnreachable'));
  });

  test('when the path cannot be a socket', async () => {
    await expect(connecting({ socketPath: '/dev/null/x' })).rejects.toThrow(failure('GuestUnreachable'));
  });

  test('when the agent speaks another version', async () => {
    await agent.listen();
    agent.onSync = (nonce) => agent.send(frameType.SYNC_ACK, 0, 0, Buffer.concat([nonce, hello(1)]));
    await expect(connecting()).rejects.toThrow(failure('GuestProtocol', /version 1/));
  });

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['half a TLV', hello().subarray(0, 20)],
    ['a boot id that is none', tlvs([tag.PROTOCOL, u32(1)], [tag.VERSION, '1'], [tag.BOOT_ID, '../../etc'])],
  ])('when the agent says %s of itself', async (_name, answer) => {
    await agent.listen();
    agent.onSync = (nonce) => agent.send(frameType.SYNC_ACK, 0, 0, Buffer.concat([nonce, answer]));
    await expect(connecting()).rejects.toThrow(failure('GuestProtocol'));
  });

  test.each([
    ['before it is called', 0],
    ['while nobody listens', 1],
    ['while the guest does not answer', 2],
  ])('when it is cancelled %s', async (_name, stage) => {
    const controller = new AbortController();
    const reason = new Error('the user left');
    if (stage === 0) controller.abort(reason);
    if (stage === 2) await agent.listen();
    agent.onSync = () => controller.abort(reason);
    const guest = connecting({ signal: controller.signal });
    guest.catch(() => {});
    if (stage === 1) {
      await clock.whenWaiting();
      controller.abort(reason);
    }
    await expect(guest).rejects.toThrow(expect.objectContaining({ code: 'Cancelled', cause: reason }));
  });
});
