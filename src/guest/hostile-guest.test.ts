import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { tlvs, u32, u64 } from '../../test/guest/fake-agent.ts';
import { exitedWell, FakeGuest, failure, readAll } from '../../test/guest/fake-guest.ts';
import { seeded } from '../../test/guest/seeded.ts';
import { AlcoveError } from '../errors.ts';
import { frameType, maxPayloadBytes, tag } from './protocol.ts';

let guest: FakeGuest;

beforeEach(async () => {
  guest = await FakeGuest.connect();
});

afterEach(() => guest[Symbol.asyncDispose]());

describe('a hostile guest', () => {
  const breaches: [string, (stream: number) => void][] = [
    ['a frame of zeros', () => guest.agent.sendRaw(Buffer.alloc(64))],
    ['a frame that only the host may send', (stream) => guest.agent.send(frameType.RESET, 0, stream)],
    ['a type that does not exist', (stream) => guest.agent.send(99, 0, stream)],
    ['a stream that was never opened', () => guest.agent.send(frameType.RESULT, 0, 1_000)],
    ['a frame of stream 0', () => guest.agent.send(frameType.DATA, 0, 0)],
    [
      'an answer to a SYNC that was not sent',
      () => guest.agent.send(frameType.SYNC_ACK, 0, 0, Buffer.alloc(40)),
    ],
    ['a channel that does not exist', (stream) => guest.agent.send(frameType.DATA, 2, stream)],
    [
      'data after the end',
      (stream) => {
        guest.agent.send(frameType.EOF, 0, stream);
        guest.sendData(stream, 'more');
      },
    ],
    [
      'the end twice',
      (stream) => {
        guest.agent.send(frameType.EOF, 0, stream);
        guest.agent.send(frameType.EOF, 0, stream);
      },
    ],
    [
      'more than it has credit for',
      (stream) => {
        for (let i = 0; i < 5; i++) guest.sendData(stream, Buffer.alloc(maxPayloadBytes));
      },
    ],
    ['a grant of the wrong size', (stream) => guest.agent.send(frameType.WINDOW, 0, stream, Buffer.alloc(3))],
    [
      'TLVs that are cut off',
      (stream) => guest.agent.send(frameType.RESULT, 0, stream, exitedWell.subarray(1)),
    ],
    ['a result without an exit code', (stream) => guest.agent.send(frameType.RESULT, 0, stream)],
    [
      'an exit code that is none',
      (stream) => guest.agent.send(frameType.RESULT, 0, stream, tlvs([tag.EXIT_CODE, u32(256)])),
    ],
    [
      'an error with a code of the host',
      (stream) => guest.agent.send(frameType.ERROR, 0, stream, tlvs([tag.CODE, 'StateCorrupt'])),
    ],
    [
      'an error with a name of every object',
      (stream) => guest.agent.send(frameType.ERROR, 0, stream, tlvs([tag.CODE, '__proto__'])),
    ],
  ];

  test.each(breaches)('that sends %s ends the channel, and every call on it', async (_name, breach) => {
    const command = await guest.startCommand();
    const ping = guest.channel.ping();
    ping.catch(() => {});
    const reading = readAll(guest.channel.files.read('/f'));
    reading.catch(() => {});
    breach(command.stream);
    for (const call of [command.exited, ping, reading]) {
      await expect(call).rejects.toThrow(failure('GuestProtocol', /^the guest sent/));
    }
    expect(await guest.channel.closed).toEqual(failure('GuestProtocol'));
    await expect(guest.channel.ping()).rejects.toThrow(failure('GuestProtocol'));
  });

  test('that names its files as it likes is believed the last part alone', async () => {
    const stat = (path: string) =>
      tlvs(
        [tag.PATH, path],
        [tag.KIND, Buffer.of(1)],
        [tag.SIZE, u64(1n << 63n)],
        [tag.MODE, u32(0xffff_ffff)],
        [tag.UID, u32(0)],
        [tag.GID, u32(0)],
        [tag.MTIME_NS, u64(1_000_000n)],
      );
    guest.agent.onFrame = (frame) => {
      if (frame.type !== frameType.OPEN) return;
      guest.agent.send(frameType.OPENED, 0, frame.stream);
      for (const path of ['/d/ok', '/etc/passwd', '/d/../..']) {
        const record = stat(path);
        guest.sendData(frame.stream, Buffer.concat([u32(record.length), record]));
      }
    };
    const listing = guest.channel.files.list('/d')[Symbol.asyncIterator]();
    expect((await listing.next()).value).toEqual({
      path: '/d/ok',
      kind: 'file',
      size: Number.MAX_SAFE_INTEGER,
      mode: 0o7777,
      uid: 0,
      gid: 0,
      mtimeMs: 1,
    });
    expect((await listing.next()).value).toMatchObject({ path: '/d/passwd' });
    await expect(listing.next()).rejects.toThrow(failure('GuestProtocol'));
  });

  test.each([
    ['too long', u32(maxPayloadBytes + 1)],
    ['cut off', Buffer.concat([u32(10), Buffer.alloc(3)])],
  ])('that sends a record that is %s ends the channel', async (_name, bytes) => {
    guest.agent.onFrame = (frame) => {
      if (frame.type !== frameType.OPEN) return;
      guest.sendData(frame.stream, bytes);
      guest.agent.send(frameType.EOF, 0, frame.stream);
      guest.agent.send(frameType.RESULT, 0, frame.stream);
    };
    await expect(guest.channel.listDetached()).rejects.toThrow(failure('GuestProtocol'));
    await expect(guest.channel.ping()).rejects.toThrow(failure('GuestProtocol'));
  });

  test('that still talks of a stream that has ended is not listened to', async () => {
    guest.agent.onFrame = (frame) => {
      guest.agent.send(frameType.RESULT, 0, frame.stream);
      guest.sendData(frame.stream, 'late');
      guest.agent.send(frameType.RESULT, 0, frame.stream);
    };
    await guest.channel.ping();
    await guest.channel.ping();
  });

  test('that floods a call with empty frames fills no memory', async () => {
    const command = await guest.startCommand();
    for (let i = 0; i < 10_000; i++) guest.sendData(command.stream, '');
    guest.agent.send(frameType.RESULT, 0, command.stream, exitedWell);
    expect(await readAll(command.stdout)).toBe('');
  });

  test('that sends any frames at all: every call settles, nothing else happens', async () => {
    const payload = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.constantFrom(exitedWell, tlvs([tag.PID, u32(1)]), tlvs([tag.CODE, 'GuestFile']), u32(1_000)),
    );
    const frame = fc.record({
      type: fc.integer({ min: frameType.SYNC_ACK, max: frameType.RESET }),
      flag: fc.nat(2),
      stream: fc.nat(5),
      payload,
    });
    await fc.assert(
      fc.asyncProperty(fc.array(frame, { maxLength: 15 }), async (frames) => {
        await using other = await FakeGuest.connect();
        const { channel, agent } = other;
        const calls = [
          channel
            .exec({ command: 'x' })
            .then((process) => Promise.all([process.exited, readAll(process.stdout)])),
          readAll(channel.files.read('/f')),
          channel.listDetached(),
          channel.files.write('/f', Buffer.alloc(500_000)),
          channel.ping(),
        ];
        const settled = Promise.allSettled(calls);
        await agent.until(
          () => agent.frames.filter((f) => f.type === frameType.OPEN).length === calls.length,
        );
        for (const { type, flag, stream, payload } of frames) agent.send(type, flag, stream, payload);
        agent.hangUp();
        for (const result of await settled) {
          if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(AlcoveError);
        }
        expect(await channel.closed).toHaveProperty(
          'code',
          expect.stringMatching(/^Guest(Protocol|Unreachable)$/),
        );
      }),
      { ...seeded, numRuns: 200 },
    );
  });
});
