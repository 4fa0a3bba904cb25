import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { tlvs } from '../../test/guest/fake-agent.ts';
import { FakeGuest } from '../../test/guest/fake-guest.ts';
import { frameType, tag } from './protocol.ts';

let guest: FakeGuest;

beforeEach(async () => {
  guest = await FakeGuest.connect();
});

afterEach(() => guest[Symbol.asyncDispose]());

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
    guest.agent.onFrame = (frame) => {
      if (frame.type === frameType.OPEN) guest.agent.send(frameType.ERROR, 0, frame.stream, fileError);
    };
    const source = new Source(next);
    await expect(guest.channel.files.write('/f', source)).rejects.toThrow(
      expect.objectContaining({ code: 'GuestFile', details: { path: '/f', errno: 'ENOSPC' } }),
    );
    expect(source.letGo).toBe(true);
  });

  test('whose source fails is given up in the guest and rejects with that error', async () => {
    guest.agent.onFrame = (frame) => {
      if (frame.type === frameType.RESET) {
        guest.agent.send(frameType.ERROR, 0, frame.stream, tlvs([tag.CODE, 'Cancelled']));
      }
    };
    const broken = new Error('the disk is gone');
    const source = new Source(() => Promise.reject(broken));
    await expect(guest.channel.files.write('/f', source)).rejects.toBe(broken);
  });
});
