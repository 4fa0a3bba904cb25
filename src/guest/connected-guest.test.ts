import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { tlvs, u32 } from '../../test/guest/fake-agent.ts';
import { exitedWell, FakeGuest, failure, readAll } from '../../test/guest/fake-guest.ts';
import { channel, control, frameType, op, tag, windowBytes } from './protocol.ts';
import { TlvReader } from './wire/tlv-reader.ts';

let guest: FakeGuest;

beforeEach(async () => {
  guest = await FakeGuest.connect();
});

afterEach(() => guest[Symbol.asyncDispose]());

describe('a command', () => {
  test('is sent as asked and its output comes apart, then its exit', async () => {
    const running = guest.channel.exec({
      command: ['ls', '-l', ''],
      env: { A: '1', EMPTY: '' },
      cwd: '/tmp',
      user: 'nobody',
      timeoutMs: 5_000,
      background: 'keep',
    });
    const open = await guest.agent.frame(frameType.OPEN);
    const request = new TlvReader(open.payload);
    expect(open.flag).toBe(op.EXEC);
    expect(request.path(tag.ARGV)).toBe('ls');
    expect(request.path(tag.ENV)).toBe('A=1');
    expect(request.path(tag.CWD)).toBe('/tmp');
    expect(request.path(tag.USER)).toBe('nobody');
    expect(request.u64(tag.TIMEOUT_MS)).toBe(5_000);
    expect(request.u8(tag.BACKGROUND)).toBe(1);
    guest.agent.send(frameType.OPENED, 0, open.stream, tlvs([tag.PID, u32(42)]));
    guest.sendData(open.stream, 'out');
    guest.sendData(open.stream, 'err', channel.STDERR);
    guest.agent.send(frameType.EOF, channel.MAIN, open.stream);
    guest.agent.send(frameType.EOF, channel.STDERR, open.stream);
    guest.agent.send(frameType.RESULT, 0, open.stream, tlvs([tag.EXIT_CODE, u32(137)], [tag.SIGNAL, u32(9)]));
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
    guest.agent.onFrame = ({ stream }) =>
      guest.agent.send(
        frameType.ERROR,
        0,
        stream,
        tlvs(
          [tag.CODE, 'CommandNotStarted'],
          [tag.MESSAGE, `no such\u001b[2J ${'x'.repeat(5_000)}`],
          [tag.ERRNO, 'ENOENT'],
        ),
      );
    const error = await guest.channel.exec({ command: ['nope'] }).catch((e) => e);
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
    await expect(guest.channel.exec(request as never)).rejects.toThrow(
      expect.objectContaining({ code: 'InvalidInput', details: { field } }),
    );
  });

  test('takes signals by name and number, and sizes', async () => {
    const process = await guest.startCommand();
    await process.kill('SIGINT');
    await process.kill(10);
    await process.resize({ rows: 24, columns: 80 });
    await guest.agent.until(
      () => guest.agent.frames.filter((f) => f.type === frameType.CONTROL).length === 3,
    );
    const controls = guest.agent.frames.filter((f) => f.type === frameType.CONTROL);
    expect(controls.map((f) => f.flag)).toEqual([control.SIGNAL, control.SIGNAL, control.RESIZE]);
    expect(new TlvReader(controls[0]?.payload ?? Buffer.alloc(0)).u32(tag.SIGNAL)).toBe(2);
    expect(new TlvReader(controls[1]?.payload ?? Buffer.alloc(0)).u32(tag.SIGNAL)).toBe(10);
    await expect(process.kill('SIGNOPE')).rejects.toThrow(failure('InvalidInput'));
    await expect(process.kill(65)).rejects.toThrow(failure('InvalidInput'));
  });

  test('whose reader leaves can still write all it has', async () => {
    const process = await guest.startCommand();
    guest.sendData(process.stream, Buffer.alloc(60_000));
    for await (const _ of process.stdout) break;
    for (let sent = 60_000; sent < 1_000_000; sent += 60_000) {
      const granted = () => guest.grantedBytes(process.stream, channel.MAIN);
      await guest.agent.until(() => windowBytes + granted() - sent >= 60_000);
      guest.sendData(process.stream, Buffer.alloc(60_000));
    }
    guest.agent.send(frameType.RESULT, 0, process.stream, exitedWell);
    expect(await process.exited).toMatchObject({ exitCode: 0, durationMs: 1.5 });
  });
});

describe('a freeze', () => {
  test.each([
    [{}, undefined],
    [{ processes: 'leave' }, undefined],
    [{ processes: 'freeze' }, 1],
  ] as const)('with %j asks for the seal %j', async (options, seal) => {
    guest.answerEverything();
    await guest.channel.freeze({ ...options, maxMs: 7 });
    const { flag, payload } = await guest.agent.frame(frameType.OPEN);
    const request = new TlvReader(payload);
    expect([flag, request.u64(tag.MAX_MS), request.u8(tag.SEAL)]).toEqual([op.FREEZE, 7, seal]);
  });
});

describe('a renewal', () => {
  const request = {
    identity: { hostname: 'box', machineId: '0123456789abcdef0123456789abcdef' },
    unixMs: 1_500,
    entropy: Buffer.alloc(32, 7),
    network: {
      address: '10.0.2.15/24',
      gateway: '10.0.2.2',
      dns: ['10.0.2.3'],
      mac: '52:54:00:12:34:56',
    },
  };
  const answer = (payload: Buffer) => {
    guest.agent.onFrame = ({ stream }) => guest.agent.send(frameType.RESULT, 0, stream, payload);
  };

  test('says who the guest is and hears whether it has hooks', async () => {
    answer(tlvs([tag.HOOKS, Buffer.of(1)]));
    expect(await guest.channel.renew(request)).toEqual({ hooks: 'some' });
    const { flag, payload } = await guest.agent.frame(frameType.OPEN);
    const sent = new TlvReader(payload);
    expect(flag).toBe(op.RENEW);
    expect(sent.path(tag.HOSTNAME)).toBe('box');
    expect(sent.path(tag.MACHINE_ID)).toBe(request.identity.machineId);
    expect(sent.u64(tag.UNIX_NS)).toBe(1_500_000_000);
    expect(sent.bytes(tag.ENTROPY)).toEqual(request.entropy);
    expect(sent.path(tag.ADDRESS)).toBe('10.0.2.15/24');
    expect(sent.path(tag.MAC)).toBe('52:54:00:12:34:56');
    answer(tlvs([tag.HOOKS, Buffer.of(0)]));
    expect(await guest.channel.renew(request)).toEqual({ hooks: 'none' });
  });

  test('whose answer does not say so breaks the protocol', async () => {
    answer(Buffer.alloc(0));
    await expect(guest.channel.renew(request)).rejects.toThrow(failure('GuestProtocol'));
  });
});

describe('hooks', () => {
  test('are asked for by their event, with their time', async () => {
    guest.answerEverything();
    await guest.channel.runHooks('after-restore', { timeoutMs: 9 });
    const { flag, payload } = await guest.agent.frame(frameType.OPEN);
    const request = new TlvReader(payload);
    expect([flag, request.path(tag.NAME), request.u64(tag.TIMEOUT_MS)]).toEqual([
      op.HOOKS,
      'after-restore',
      9,
    ]);
  });

  test('that fail are told of, with an output that is safe to show', async () => {
    guest.agent.onFrame = ({ stream }) =>
      guest.agent.send(
        frameType.ERROR,
        0,
        stream,
        tlvs(
          [tag.CODE, 'GuestHookFailed'],
          [tag.MESSAGE, '/x/1 ended with exit code 3'],
          [tag.PATH, '/x/1'],
          [tag.OUTPUT, `${'a'.repeat(9_000)}\tb\n\u001b[2Jc\n`],
        ),
      );
    const error = await guest.channel.runHooks('before-snapshot').catch((e) => e);
    expect(error).toMatchObject({ code: 'GuestHookFailed', details: { hook: '/x/1' } });
    expect(error.details.output).toMatch(/^a+\tb\n\ufffd\[2Jc\n$/);
    expect(error.details.output).toHaveLength(4_096);
    expect(error.message).toMatch(
      /^could not run the before-snapshot hooks: \/x\/1 ended with exit code 3: a{290,}\tb\n\ufffd\[2Jc$/,
    );
  });

  test('that fail without a word are told of too', async () => {
    guest.agent.onFrame = ({ stream }) =>
      guest.agent.send(frameType.ERROR, 0, stream, tlvs([tag.CODE, 'GuestHookFailed'], [tag.MESSAGE, 'm']));
    await expect(guest.channel.runHooks('before-snapshot')).rejects.toMatchObject({
      message: 'could not run the before-snapshot hooks: m',
      details: { hook: '', output: '' },
    });
  });
});

describe('a channel that ends', () => {
  test('because the guest went away: every call rejects at once', async () => {
    const command = await guest.startCommand();
    const reading = readAll(command.stdout);
    reading.catch(() => {});
    guest.agent.hangUp();
    await expect(command.exited).rejects.toThrow(failure('GuestUnreachable'));
    await expect(reading).rejects.toThrow(failure('GuestUnreachable'));
    expect(await guest.channel.closed).toEqual(failure('GuestUnreachable'));
  });

  test('because it was disposed of: the same, and disposing twice is fine', async () => {
    const command = await guest.startCommand();
    await guest.channel[Symbol.asyncDispose]();
    await guest.channel[Symbol.asyncDispose]();
    await expect(command.exited).rejects.toThrow(failure('GuestUnreachable', /on this side/));
  });
});
