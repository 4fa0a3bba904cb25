import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { tlvs, u32 } from '../../test/guest/fake-agent.ts';
import { exitedWell, FakeGuest, failure, readAll } from '../../test/guest/fake-guest.ts';
import { resetWaitMs } from './call.ts';
import { frameType, op, tag } from './protocol.ts';

let guest: FakeGuest;

beforeEach(async () => {
  guest = await FakeGuest.connect();
});

afterEach(() => guest[Symbol.asyncDispose]());

describe('cancelling', () => {
  test('ends the command in the guest and rejects once the guest has confirmed', async () => {
    const controller = new AbortController();
    const command = await guest.startCommand(controller.signal);
    guest.sendData(command.stream, 'never read');
    let settled = false;
    const ended = command.exited.catch((error) => {
      settled = true;
      return error;
    });
    controller.abort(new Error('enough'));
    await guest.agent.frame(frameType.RESET, command.stream);
    guest.sendData(command.stream, 'last words');
    await new Promise((resolve) => setImmediate(resolve));
    expect(settled).toBe(false);
    guest.agent.send(frameType.ERROR, 0, command.stream, tlvs([tag.CODE, 'Cancelled']));
    expect(await ended).toMatchObject({ code: 'Cancelled', cause: new Error('enough') });
    await expect(readAll(command.stdout)).rejects.toThrow(failure('Cancelled'));
  });

  test('wins over an exit that came after it', async () => {
    const controller = new AbortController();
    const command = await guest.startCommand(controller.signal);
    controller.abort();
    guest.agent.send(frameType.RESULT, 0, command.stream, exitedWell);
    await expect(command.exited).rejects.toThrow(failure('Cancelled'));
  });

  test('sends nothing when the signal has fired before', async () => {
    await expect(guest.channel.ping({ signal: AbortSignal.abort() })).rejects.toThrow(failure('Cancelled'));
    expect(guest.agent.frames.some((f) => f.type === frameType.OPEN)).toBe(false);
  });

  test('is said to be unconfirmed when the guest does not answer, and what it says later does no harm', async () => {
    const controller = new AbortController();
    const command = await guest.startCommand(controller.signal);
    controller.abort();
    await guest.clock.advance(resetWaitMs);
    await expect(command.exited).rejects.toThrow(failure('GuestUnreachable', /did not confirm/));
    guest.sendData(command.stream, 'late');
    guest.agent.send(frameType.RESULT, 0, command.stream, exitedWell);
    guest.agent.onFrame = (frame) => guest.agent.send(frameType.RESULT, 0, frame.stream);
    await guest.channel.ping();
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
    guest.agent.onFrame = (frame) => guest.agent.send(frameType.RESULT, 0, frame.stream);
    for (let i = 0; i < 10; i++) await guest.channel.ping({ signal });
    expect(listeners).toBe(0);
  });

  test('disposing of a command ends it; of one that has ended, does nothing', async () => {
    const command = await guest.startCommand();
    guest.agent.onFrame = (frame) => {
      if (frame.type === frameType.RESET) guest.agent.send(frameType.RESULT, 0, frame.stream, exitedWell);
    };
    await command[Symbol.asyncDispose]();
    await expect(command.exited).rejects.toThrow(failure('Cancelled'));
    await command[Symbol.asyncDispose]();
    expect(guest.agent.frames.filter((f) => f.type === frameType.RESET)).toHaveLength(1);
  });

  test('leaving a file that is read, or a directory that is watched, ends it in the guest', async () => {
    guest.agent.onFrame = (frame) => {
      if (frame.type === frameType.OPEN) {
        guest.agent.send(frameType.OPENED, 0, frame.stream);
        const record = tlvs([tag.PATH, '/d/f'], [tag.CHANGE, Buffer.of(1)]);
        guest.sendData(
          frame.stream,
          frame.flag === op.WATCH ? Buffer.concat([u32(record.length), record]) : 'bytes',
        );
      } else if (frame.type === frameType.RESET) {
        guest.agent.send(frameType.ERROR, 0, frame.stream, tlvs([tag.CODE, 'Cancelled']));
      }
    };
    for await (const chunk of guest.channel.files.read('/f')) {
      expect(String(chunk)).toBe('bytes');
      break;
    }
    for await (const change of guest.channel.files.watch('/d')) {
      expect(change).toEqual({ path: '/d/f', kind: 'created' });
      break;
    }
    expect(guest.agent.frames.filter((f) => f.type === frameType.RESET).map((f) => f.stream)).toEqual([1, 2]);
  });
});
