import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeAgent, type ReceivedFrame, tlvs, u32, u64 } from '../../test/guest/fake-agent.ts';
import { ManualClock } from '../../test/guest/manual-clock.ts';
import { resetWaitMs } from './call.ts';
import { connectGuest } from './connect-guest.ts';
import type { GuestChannel, GuestProcess } from './guest-channel.ts';
import {
  channel,
  control,
  frameType,
  maxPayloadBytes,
  maxStreams,
  op,
  tag,
  windowBytes,
} from './protocol.ts';
import { TlvReader } from './tlv-reader.ts';

let agent: FakeAgent;
let clock: ManualClock;
let guest: GuestChannel;

beforeEach(async () => {
  agent = await FakeAgent.listen();
  clock = new ManualClock();
  guest = await connectGuest({ socketPath: agent.socketPath, line: 'fresh', deadlineMs: 1_000, clock });
});

afterEach(async () => {
  await guest[Symbol.asyncDispose]();
  await agent[Symbol.asyncDispose]();
  expect(clock.waiting).toBe(0);
});

const failure = (code: string, message = /./) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

const exited = tlvs([tag.EXIT_CODE, u32(0)], [tag.DURATION_US, u64(1_500n)]);

/** Starts a command of which the agent says no more than that it runs. */
async function startCommand(signal?: AbortSignal): Promise<GuestProcess & { stream: number }> {
  const before = agent.frames.length;
  const starting = guest.exec({ command: ['x'], stdin: 'pipe' }, signal ? { signal } : {});
  const isOpen = (frame: ReceivedFrame, index: number) => index >= before && frame.type === frameType.OPEN;
  await agent.until(() => agent.frames.some(isOpen));
  const stream = agent.frames.find(isOpen)?.stream ?? 0;
  agent.send(frameType.OPENED, 0, stream, tlvs([tag.PID, u32(42)]));
  return Object.assign(await starting, { stream });
}

const sendData = (stream: number, bytes: Uint8Array | string, on: number = channel.MAIN) =>
  agent.send(frameType.DATA, on, stream, Buffer.from(bytes as Uint8Array));

async function readAll(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

describe('a command', () => {
  test('is sent as asked and its output comes apart, then its exit', async () => {
    const running = guest.exec({
      command: ['ls', '-l', ''],
      env: { A: '1', EMPTY: '' },
      cwd: '/tmp',
      user: 'nobody',
      timeoutMs: 5_000,
      background: 'keep',
    });
    const open = await agent.frame(frameType.OPEN);
    const request = new TlvReader(open.payload);
    expect(open.flag).toBe(op.EXEC);
    expect(request.path(tag.ARGV)).toBe('ls');
    expect(request.path(tag.ENV)).toBe('A=1');
    expect(request.path(tag.CWD)).toBe('/tmp');
    expect(request.path(tag.USER)).toBe('nobody');
    expect(request.u64(tag.TIMEOUT_MS)).toBe(5_000);
    expect(request.u8(tag.BACKGROUND)).toBe(1);
    agent.send(frameType.OPENED, 0, open.stream, tlvs([tag.PID, u32(42)]));
    sendData(open.stream, 'out');
    sendData(open.stream, 'err', channel.STDERR);
    agent.send(frameType.EOF, channel.MAIN, open.stream);
    agent.send(frameType.EOF, channel.STDERR, open.stream);
    agent.send(frameType.RESULT, 0, open.stream, tlvs([tag.EXIT_CODE, u32(137)], [tag.SIGNAL, u32(9)]));
    const process = await running;
    expect(process.pid).toBe(42);
    expect(await readAll(process.stdout)).toBe('out');
    expect(await readAll(process.stderr)).toBe('err');
    expect(await process.exited).toEqual({
      exitCode: 137,
      signal: 'SIGKILL',
      timedOut: false,
      durationMs: 0,
      droppedBytes: 0,
    });
  });

  test('that cannot start rejects with the reason, and no more', async () => {
    agent.onFrame = ({ stream }) =>
      agent.send(
        frameType.ERROR,
        0,
        stream,
        tlvs(
          [tag.CODE, 'CommandNotStarted'],
          [tag.MESSAGE, `no such\u001b[2J ${'x'.repeat(5_000)}`],
          [tag.ERRNO, 'ENOENT'],
        ),
      );
    const error = await guest.exec({ command: ['nope'] }).catch((e) => e);
    expect(error).toMatchObject({ code: 'CommandNotStarted', details: { errno: 'ENOENT' } });
    expect(error.message).toMatch(/^could not run the command nope: no such�\[2J x+$/);
    expect(error.message.length).toBeLessThan(600);
  });

  test.each([
    [{ command: [''] }, 'command'],
    [{ command: '' }, 'command'],
    [{ command: ['a\0b'] }, 'command'],
    [{ command: 'x', cwd: 'relative' }, 'cwd'],
    [{ command: 'x', env: { 'A=B': '1' } }, 'env'],
    [{ command: 'x', env: { A: 'x'.repeat(70_000) } }, 'env'],
    [{ command: 'x', timeoutMs: -1 }, 'timeoutMs'],
  ] as const)('of which %j is refused names the field', async (request, field) => {
    await expect(guest.exec(request as never)).rejects.toThrow(
      expect.objectContaining({ code: 'InvalidInput', details: { field } }),
    );
  });

  test('takes signals by name and number, and sizes', async () => {
    const process = await startCommand();
    await process.kill('SIGINT');
    await process.kill(10);
    await process.resize({ rows: 24, columns: 80 });
    await agent.until(() => agent.frames.filter((f) => f.type === frameType.CONTROL).length === 3);
    const controls = agent.frames.filter((f) => f.type === frameType.CONTROL);
    expect(controls.map((f) => f.flag)).toEqual([control.SIGNAL, control.SIGNAL, control.RESIZE]);
    expect(new TlvReader(controls[0]?.payload ?? Buffer.alloc(0)).u32(tag.SIGNAL)).toBe(2);
    expect(new TlvReader(controls[1]?.payload ?? Buffer.alloc(0)).u32(tag.SIGNAL)).toBe(10);
    await expect(process.kill('SIGNOPE')).rejects.toThrow(failure('InvalidInput'));
    await expect(process.kill(65)).rejects.toThrow(failure('InvalidInput'));
  });

  test('whose reader leaves can still write all it has', async () => {
    const process = await startCommand();
    sendData(process.stream, Buffer.alloc(60_000));
    for await (const _ of process.stdout) break;
    for (let sent = 60_000; sent < 1_000_000; sent += 60_000) {
      const granted = () => grantedBytes(process.stream, channel.MAIN);
      await agent.until(() => windowBytes + granted() - sent >= 60_000);
      sendData(process.stream, Buffer.alloc(60_000));
    }
    agent.send(frameType.RESULT, 0, process.stream, exited);
    expect(await process.exited).toMatchObject({ exitCode: 0, durationMs: 1.5 });
  });
});

function grantedBytes(stream: number, on: number): number {
  return agent.frames
    .filter((f) => f.type === frameType.WINDOW && f.stream === stream && f.flag === on)
    .reduce((sum, f) => sum + f.payload.readUInt32LE(), 0);
}

describe('flow control', () => {
  test('a guest gets no new credit for what nobody reads, and other streams go on', async () => {
    const slow = await startCommand();
    for (let sent = 0; sent < windowBytes; sent += maxPayloadBytes) {
      sendData(slow.stream, Buffer.alloc(maxPayloadBytes));
    }
    agent.onFrame = (frame) => {
      if (frame.type === frameType.OPEN) agent.send(frameType.RESULT, 0, frame.stream);
    };
    await guest.ping();
    expect(grantedBytes(slow.stream, channel.MAIN)).toBe(0);

    let read = 0;
    const iterator = slow.stdout[Symbol.asyncIterator]();
    while (read < windowBytes) read += (await iterator.next()).value?.length ?? 0;
    await agent.until(() => grantedBytes(slow.stream, channel.MAIN) === windowBytes);
  });

  test('small chunks that wait are put together, so that they hold what they weigh', async () => {
    const process = await startCommand();
    for (let i = 0; i < 10_000; i++) sendData(process.stream, 'x');
    agent.send(frameType.EOF, channel.MAIN, process.stream);
    agent.onFrame = (frame) => {
      if (frame.type === frameType.OPEN) agent.send(frameType.RESULT, 0, frame.stream);
    };
    await guest.ping();
    const chunks: number[] = [];
    for await (const chunk of process.stdout) chunks.push(chunk.length);
    expect(chunks).toEqual([10_000]);
  });

  test('the host sends no more than it has credit for, and goes on when it gets some', async () => {
    const process = await startCommand();
    const writing = process.stdin.write(Buffer.alloc(windowBytes + 1_000));
    await agent.until(() => agent.dataBytes(process.stream) === windowBytes);
    agent.send(frameType.WINDOW, 0, process.stream, u32(400));
    await agent.until(() => agent.dataBytes(process.stream) === windowBytes + 400);
    agent.send(frameType.WINDOW, 0, process.stream, u32(0xffff_ffff));
    await writing;
    await process.stdin.end();
    await agent.frame(frameType.EOF, process.stream);
    expect(agent.dataBytes(process.stream)).toBe(windowBytes + 1_000);
  });

  test('writes keep their order, and their buffer may be used again', async () => {
    const process = await startCommand();
    const buffer = Buffer.from('a');
    const first = process.stdin.write(buffer);
    const second = process.stdin.write(Buffer.from('b'));
    await first;
    buffer.fill('!');
    await second;
    await process.stdin.end();
    await agent.frame(frameType.EOF, process.stream);
    const data = agent.frames.filter((f) => f.type === frameType.DATA).map((f) => f.payload.toString());
    expect(data.join('')).toBe('ab');
  });

  test('a write to a command that has ended says so', async () => {
    const process = await startCommand();
    const writing = process.stdin.write(Buffer.alloc(windowBytes + 1));
    writing.catch(() => {});
    agent.send(frameType.RESULT, 0, process.stream, exited);
    await process.exited;
    await expect(writing).rejects.toThrow(expect.objectContaining({ code: 'GuestFile' }));
    await expect(process.stdin.write(Buffer.from('x'))).rejects.toThrow(
      expect.objectContaining({ details: { path: 'input', errno: 'EPIPE' } }),
    );
  });

  test('a guest that takes nothing does not fill the memory of the host', async () => {
    agent.stopReading();
    const before = process.memoryUsage().arrayBuffers;
    const bytes = Buffer.alloc(windowBytes);
    const writes = Array.from({ length: 200 }, (_, i) =>
      guest.files.write(`/f${i}`, bytes).catch((error) => error.code),
    );
    await new Promise((resolve) => setImmediate(resolve));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 << 20);
    agent.hangUp();
    expect(new Set(await Promise.all(writes))).toEqual(new Set(['GuestUnreachable']));
  });

  test('no more calls are under way than the guest allows', async () => {
    const calls = Array.from({ length: maxStreams }, () => guest.ping());
    await expect(guest.ping()).rejects.toThrow(failure('AtCapacity'));
    await agent.until(() => agent.frames.filter((f) => f.type === frameType.OPEN).length === maxStreams);
    for (let stream = 1; stream <= maxStreams; stream++) agent.send(frameType.RESULT, 0, stream);
    await Promise.all(calls);
  });
});

describe('cancelling', () => {
  test('ends the command in the guest and rejects once the guest has confirmed', async () => {
    const controller = new AbortController();
    const command = await startCommand(controller.signal);
    sendData(command.stream, 'never read');
    let settled = false;
    const ended = command.exited.catch((error) => {
      settled = true;
      return error;
    });
    controller.abort(new Error('enough'));
    await agent.frame(frameType.RESET, command.stream);
    sendData(command.stream, 'last words');
    await new Promise((resolve) => setImmediate(resolve));
    expect(settled).toBe(false);
    agent.send(frameType.ERROR, 0, command.stream, tlvs([tag.CODE, 'Cancelled']));
    expect(await ended).toMatchObject({ code: 'Cancelled', cause: new Error('enough') });
    await expect(readAll(command.stdout)).rejects.toThrow(failure('Cancelled'));
  });

  test('wins over an exit that came after it', async () => {
    const controller = new AbortController();
    const command = await startCommand(controller.signal);
    controller.abort();
    agent.send(frameType.RESULT, 0, command.stream, exited);
    await expect(command.exited).rejects.toThrow(failure('Cancelled'));
  });

  test('sends nothing when the signal has fired before', async () => {
    await expect(guest.ping({ signal: AbortSignal.abort() })).rejects.toThrow(failure('Cancelled'));
    expect(agent.frames.some((f) => f.type === frameType.OPEN)).toBe(false);
  });

  test('is said to be unconfirmed when the guest does not answer, and what it says later does no harm', async () => {
    const controller = new AbortController();
    const command = await startCommand(controller.signal);
    controller.abort();
    await clock.advance(resetWaitMs);
    await expect(command.exited).rejects.toThrow(failure('GuestUnreachable', /did not confirm/));
    sendData(command.stream, 'late');
    agent.send(frameType.RESULT, 0, command.stream, exited);
    agent.onFrame = (frame) => agent.send(frameType.RESULT, 0, frame.stream);
    await guest.ping();
  });

  test('a call leaves nothing on the signal when it is over', async () => {
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--;
      remove(...args);
    };
    agent.onFrame = (frame) => agent.send(frameType.RESULT, 0, frame.stream);
    for (let i = 0; i < 10; i++) await guest.ping({ signal });
    expect(listeners).toBe(0);
  });

  test('disposing of a command ends it; of one that has ended, does nothing', async () => {
    const command = await startCommand();
    agent.onFrame = (frame) => {
      if (frame.type === frameType.RESET) agent.send(frameType.RESULT, 0, frame.stream, exited);
    };
    await command[Symbol.asyncDispose]();
    await expect(command.exited).rejects.toThrow(failure('Cancelled'));
    await command[Symbol.asyncDispose]();
    expect(agent.frames.filter((f) => f.type === frameType.RESET)).toHaveLength(1);
  });

  test('leaving a file that is read, or a directory that is watched, ends it in the guest', async () => {
    agent.onFrame = (frame) => {
      if (frame.type === frameType.OPEN) {
        agent.send(frameType.OPENED, 0, frame.stream);
        const record = tlvs([tag.PATH, '/d/f'], [tag.CHANGE, Buffer.of(1)]);
        sendData(
          frame.stream,
          frame.flag === op.WATCH ? Buffer.concat([u32(record.length), record]) : 'bytes',
        );
      } else if (frame.type === frameType.RESET) {
        agent.send(frameType.ERROR, 0, frame.stream, tlvs([tag.CODE, 'Cancelled']));
      }
    };
    for await (const chunk of guest.files.read('/f')) {
      expect(String(chunk)).toBe('bytes');
      break;
    }
    for await (const change of guest.files.watch('/d')) {
      expect(change).toEqual({ path: '/d/f', kind: 'created' });
      break;
    }
    expect(agent.frames.filter((f) => f.type === frameType.RESET).map((f) => f.stream)).toEqual([1, 2]);
  });
});

describe('sending a file', () => {
  /** A source that notes whether it was let go of. */
  class Source implements AsyncIterable<Uint8Array> {
    letGo = false;
    readonly #next: () => Promise<Uint8Array>;

    constructor(next: () => Promise<Uint8Array>) {
      this.#next = next;
    }

    [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
      return {
        next: async () => ({ done: false, value: await this.#next() }),
        return: async () => {
          this.letGo = true;
          return { done: true, value: undefined };
        },
      };
    }
  }

  const fileError = tlvs([tag.CODE, 'GuestFile'], [tag.MESSAGE, 'no space left'], [tag.ERRNO, 'ENOSPC']);

  test.each([
    ['that hangs', () => new Promise<Uint8Array>(() => {})],
    ['that never ends', async () => Buffer.alloc(1_000)],
  ])('stops when the guest refuses, and lets go of a source %s', async (_name, next) => {
    agent.onFrame = (frame) => {
      if (frame.type === frameType.OPEN) agent.send(frameType.ERROR, 0, frame.stream, fileError);
    };
    const source = new Source(next);
    await expect(guest.files.write('/f', source)).rejects.toThrow(
      expect.objectContaining({ code: 'GuestFile', details: { path: '/f', errno: 'ENOSPC' } }),
    );
    expect(source.letGo).toBe(true);
  });

  test('whose source fails is given up in the guest and rejects with that error', async () => {
    agent.onFrame = (frame) => {
      if (frame.type === frameType.RESET) {
        agent.send(frameType.ERROR, 0, frame.stream, tlvs([tag.CODE, 'Cancelled']));
      }
    };
    const broken = new Error('the disk is gone');
    const source = new Source(() => Promise.reject(broken));
    await expect(guest.files.write('/f', source)).rejects.toBe(broken);
  });
});

describe('a hostile guest', () => {
  const breaches: [string, (stream: number) => void][] = [
    ['a frame of zeros', () => agent.sendRaw(Buffer.alloc(64))],
    ['a frame that only the host may send', (stream) => agent.send(frameType.RESET, 0, stream)],
    ['a type that does not exist', (stream) => agent.send(99, 0, stream)],
    ['a stream that was never opened', () => agent.send(frameType.RESULT, 0, 1_000)],
    ['a frame of stream 0', () => agent.send(frameType.DATA, 0, 0)],
    ['an answer to a SYNC that was not sent', () => agent.send(frameType.SYNC_ACK, 0, 0, Buffer.alloc(40))],
    ['a channel that does not exist', (stream) => agent.send(frameType.DATA, 2, stream)],
    [
      'data after the end',
      (stream) => {
        agent.send(frameType.EOF, 0, stream);
        sendData(stream, 'more');
      },
    ],
    [
      'the end twice',
      (stream) => {
        agent.send(frameType.EOF, 0, stream);
        agent.send(frameType.EOF, 0, stream);
      },
    ],
    [
      'more than it has credit for',
      (stream) => {
        for (let i = 0; i < 5; i++) sendData(stream, Buffer.alloc(maxPayloadBytes));
      },
    ],
    ['a grant of the wrong size', (stream) => agent.send(frameType.WINDOW, 0, stream, Buffer.alloc(3))],
    ['TLVs that are cut off', (stream) => agent.send(frameType.RESULT, 0, stream, exited.subarray(1))],
    ['a result without an exit code', (stream) => agent.send(frameType.RESULT, 0, stream)],
    [
      'an exit code that is none',
      (stream) => agent.send(frameType.RESULT, 0, stream, tlvs([tag.EXIT_CODE, u32(256)])),
    ],
    [
      'an error with a code of the host',
      (stream) => agent.send(frameType.ERROR, 0, stream, tlvs([tag.CODE, 'StateCorrupt'])),
    ],
    [
      'an error with a name of every object',
      (stream) => agent.send(frameType.ERROR, 0, stream, tlvs([tag.CODE, '__proto__'])),
    ],
  ];

  test.each(breaches)('that sends %s ends the channel, and every call on it', async (_name, breach) => {
    const command = await startCommand();
    const ping = guest.ping();
    ping.catch(() => {});
    const reading = readAll(guest.files.read('/f'));
    reading.catch(() => {});
    breach(command.stream);
    for (const call of [command.exited, ping, reading]) {
      await expect(call).rejects.toThrow(failure('GuestProtocol', /^the guest sent/));
    }
    expect(await guest.closed).toEqual(failure('GuestProtocol'));
    await expect(guest.ping()).rejects.toThrow(failure('GuestProtocol'));
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
    agent.onFrame = (frame) => {
      if (frame.type !== frameType.OPEN) return;
      agent.send(frameType.OPENED, 0, frame.stream);
      for (const path of ['/d/ok', '/etc/passwd', '/d/../..']) {
        const record = stat(path);
        sendData(frame.stream, Buffer.concat([u32(record.length), record]));
      }
    };
    const listing = guest.files.list('/d')[Symbol.asyncIterator]();
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
    agent.onFrame = (frame) => {
      if (frame.type !== frameType.OPEN) return;
      sendData(frame.stream, bytes);
      agent.send(frameType.EOF, 0, frame.stream);
      agent.send(frameType.RESULT, 0, frame.stream);
    };
    await expect(guest.listDetached()).rejects.toThrow(failure('GuestProtocol'));
    await expect(guest.ping()).rejects.toThrow(failure('GuestProtocol'));
  });

  test('that still talks of a stream that has ended is not listened to', async () => {
    agent.onFrame = (frame) => {
      agent.send(frameType.RESULT, 0, frame.stream);
      sendData(frame.stream, 'late');
      agent.send(frameType.RESULT, 0, frame.stream);
    };
    await guest.ping();
    await guest.ping();
  });

  test('that floods a call with empty frames fills no memory', async () => {
    const command = await startCommand();
    for (let i = 0; i < 10_000; i++) sendData(command.stream, '');
    agent.send(frameType.RESULT, 0, command.stream, exited);
    expect(await readAll(command.stdout)).toBe('');
  });
});

describe('a channel that ends', () => {
  test('because the guest went away: every call rejects at once', async () => {
    const command = await startCommand();
    const reading = readAll(command.stdout);
    reading.catch(() => {});
    agent.hangUp();
    await expect(command.exited).rejects.toThrow(failure('GuestUnreachable'));
    await expect(reading).rejects.toThrow(failure('GuestUnreachable'));
    expect(await guest.closed).toEqual(failure('GuestUnreachable'));
  });

  test('because it was disposed of: the same, and disposing twice is fine', async () => {
    const command = await startCommand();
    await guest[Symbol.asyncDispose]();
    await guest[Symbol.asyncDispose]();
    await expect(command.exited).rejects.toThrow(failure('GuestUnreachable', /on this side/));
  });
});
