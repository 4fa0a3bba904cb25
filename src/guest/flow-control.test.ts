import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { u32 } from '../../test/guest/fake-agent.ts';
import { exitedWell, FakeGuest, failure } from '../../test/guest/fake-guest.ts';
import { channel, frameType, maxPayloadBytes, maxStreams, windowBytes } from './protocol.ts';

let guest: FakeGuest;

beforeEach(async () => {
  guest = await FakeGuest.connect();
});

afterEach(() => guest[Symbol.asyncDispose]());

describe('flow control', () => {
  test('a guest gets no new credit for what nobody reads, and other streams go on', async () => {
    const slow = await guest.startCommand();
    for (let sent = 0; sent < windowBytes; sent += maxPayloadBytes) {
      guest.sendData(slow.stream, Buffer.alloc(maxPayloadBytes));
    }
    guest.agent.onFrame = (frame) => {
      if (frame.type === frameType.OPEN) guest.agent.send(frameType.RESULT, 0, frame.stream);
    };
    await guest.channel.ping();
    expect(guest.grantedBytes(slow.stream, channel.MAIN)).toBe(0);

    let read = 0;
    const iterator = slow.stdout[Symbol.asyncIterator]();
    while (read < windowBytes) read += (await iterator.next()).value?.length ?? 0;
    await guest.agent.until(() => guest.grantedBytes(slow.stream, channel.MAIN) === windowBytes);
  });

  test('small chunks that wait are put together, so that they hold what they weigh', async () => {
    const process = await guest.startCommand();
    for (let i = 0; i < 10_000; i++) guest.sendData(process.stream, 'x');
    guest.agent.send(frameType.EOF, channel.MAIN, process.stream);
    guest.agent.onFrame = (frame) => {
      if (frame.type === frameType.OPEN) guest.agent.send(frameType.RESULT, 0, frame.stream);
    };
    await guest.channel.ping();
    const chunks: number[] = [];
    for await (const chunk of process.stdout) chunks.push(chunk.length);
    expect(chunks).toEqual([10_000]);
  });

  test('the host sends no more than it has credit for, and goes on when it gets some', async () => {
    const process = await guest.startCommand();
    const writing = process.stdin.write(Buffer.alloc(windowBytes + 1_000));
    await guest.agent.until(() => guest.agent.dataBytes(process.stream) === windowBytes);
    guest.agent.send(frameType.WINDOW, 0, process.stream, u32(400));
    await guest.agent.until(() => guest.agent.dataBytes(process.stream) === windowBytes + 400);
    guest.agent.send(frameType.WINDOW, 0, process.stream, u32(0xffff_ffff));
    await writing;
    await process.stdin.end();
    await guest.agent.frame(frameType.EOF, process.stream);
    expect(guest.agent.dataBytes(process.stream)).toBe(windowBytes + 1_000);
  });

  test('writes keep their order, and their buffer may be used again', async () => {
    const process = await guest.startCommand();
    const buffer = Buffer.from('a');
    const first = process.stdin.write(buffer);
    const second = process.stdin.write(Buffer.from('b'));
    await first;
    buffer.fill('!');
    await second;
    await process.stdin.end();
    await guest.agent.frame(frameType.EOF, process.stream);
    const data = guest.agent.frames.filter((f) => f.type === frameType.DATA).map((f) => f.payload.toString());
    expect(data.join('')).toBe('ab');
  });

  test('a write to a command that has ended says so', async () => {
    const process = await guest.startCommand();
    const writing = process.stdin.write(Buffer.alloc(windowBytes + 1));
    writing.catch(() => {});
    guest.agent.send(frameType.RESULT, 0, process.stream, exitedWell);
    await process.exited;
    await expect(writing).rejects.toThrow(expect.objectContaining({ code: 'GuestFile' }));
    await expect(process.stdin.write(Buffer.from('x'))).rejects.toThrow(
      expect.objectContaining({ details: { path: 'input', errno: 'EPIPE' } }),
    );
  });

  test('a guest that takes nothing does not fill the memory of the host', async () => {
    guest.agent.stopReading();
    const before = process.memoryUsage().arrayBuffers;
    const bytes = Buffer.alloc(windowBytes);
    const writes = Array.from({ length: 200 }, (_, i) =>
      guest.channel.files.write(`/f${i}`, bytes).catch((error) => error.code),
    );
    await new Promise((resolve) => setImmediate(resolve));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 << 20);
    guest.agent.hangUp();
    expect(new Set(await Promise.all(writes))).toEqual(new Set(['GuestUnreachable']));
  });

  test('no more calls are under way than the guest allows', async () => {
    const calls = Array.from({ length: maxStreams }, () => guest.channel.ping());
    await expect(guest.channel.ping()).rejects.toThrow(failure('AtCapacity'));
    await guest.agent.until(
      () => guest.agent.frames.filter((f) => f.type === frameType.OPEN).length === maxStreams,
    );
    for (let stream = 1; stream <= maxStreams; stream++) guest.agent.send(frameType.RESULT, 0, stream);
    await Promise.all(calls);
  });
});

describe('a tar', () => {
  test('comes in large blocks, with more credit than other streams have', async () => {
    const tar = guest.channel.files.tarOut('/work')[Symbol.asyncIterator]();
    const first = tar.next();
    const { stream } = await guest.agent.frame(frameType.OPEN);
    await guest.agent.until(() => guest.grantedBytes(stream, channel.MAIN) === 3 * windowBytes);
    const sent = Buffer.alloc(4 * windowBytes, 'abcdefg');
    for (let at = 0; at < sent.length; at += 30_000) guest.sendData(stream, sent.subarray(at, at + 30_000));
    const got = [(await first).value ?? Buffer.alloc(0)];
    expect(got[0]?.length).toBe(windowBytes);
    await guest.agent.until(() => guest.grantedBytes(stream, channel.MAIN) === 4 * windowBytes);
    guest.sendData(stream, 'end');
    guest.agent.send(frameType.EOF, channel.MAIN, stream);
    guest.agent.send(frameType.RESULT, 0, stream);
    for (let next = await tar.next(); !next.done; next = await tar.next()) got.push(next.value);
    expect(got.map(({ length }) => length)).toEqual([...Array(4).fill(windowBytes), 3]);
    expect(Buffer.concat(got).equals(Buffer.concat([sent, Buffer.from('end')]))).toBe(true);
  });
});
