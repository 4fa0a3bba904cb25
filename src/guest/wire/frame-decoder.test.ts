import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { seeded } from '../../../test/guest/seeded.ts';
import { isAlcoveError } from '../../errors.ts';
import { frameType, maxFrameBytes, maxPayloadBytes } from '../protocol.ts';
import { encodeFrame } from './frame.ts';
import { FrameDecoder } from './frame-decoder.ts';

const ourNonce = Buffer.alloc(16, 7);
const ourAck = encodeFrame(frameType.SYNC_ACK, 0, 0, ourNonce);

/** A decoder and what came out of it. */
class Decoding {
  readonly frames: string[] = [];
  readonly decoder = new FrameDecoder();
  inStep = false;

  push(...chunks: Uint8Array[]): this {
    for (const chunk of chunks) this.decoder.push(chunk, this);
    return this;
  }

  onSyncAck(payload: Uint8Array): 'in-step' | 'hunting' {
    this.inStep = ourNonce.equals(payload);
    return this.inStep ? 'in-step' : 'hunting';
  }

  onFrame(header: { type: number; flag: number; stream: number }, payload: Uint8Array): void {
    const { type, flag, stream } = header;
    this.frames.push(`${type}/${flag}/${stream}:${Buffer.from(payload).toString('hex')}`);
  }
}

const data = (stream: number, text: string) => encodeFrame(frameType.DATA, 0, stream, Buffer.from(text));

describe('hunting', () => {
  test.each([
    ['nothing', Buffer.alloc(0)],
    ['zeros', Buffer.alloc(maxFrameBytes)],
    ['the end of a frame', data(1, 'from before').subarray(9)],
    ['whole frames of before', Buffer.concat([data(1, 'a'), data(2, 'b')])],
    ['an answer to somebody else', encodeFrame(frameType.SYNC_ACK, 0, 0, Buffer.alloc(16, 8))],
    ['an answer that is cut off', ourAck.subarray(0, 20)],
    [
      'the beginning of an answer that claims to be long',
      encodeFrame(frameType.SYNC_ACK, 0, 0, Buffer.alloc(maxPayloadBytes)).subarray(0, 100),
    ],
  ])('finds the answer after %s', (_name, before) => {
    const decoding = new Decoding().push(before, ourAck, data(1, 'x'));
    expect(decoding.frames).toEqual(['5/0/1:78']);
  });

  test('delivers no frame before the answer', () => {
    expect(new Decoding().push(data(1, 'x'), data(1, 'y'))).toMatchObject({ frames: [], inStep: false });
  });

  test('finds the answer after any bytes, in any chunks', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 300 })),
        fc.integer({ min: 1, max: 50 }),
        (noise, step) => {
          const bytes = Buffer.concat([...noise, ourAck, data(3, 'ok')]);
          const decoding = new Decoding();
          for (let at = 0; at < bytes.length; at += step) decoding.push(bytes.subarray(at, at + step));
          expect(decoding.frames).toEqual(['5/0/3:6f6b']);
        },
      ),
      seeded,
    );
  });
});

describe('in step', () => {
  const inStep = () => new Decoding().push(ourAck);
  const frames = fc.array(
    fc.record({
      type: fc.integer({ min: frameType.SYNC_ACK, max: frameType.ERROR }),
      flag: fc.nat(255),
      stream: fc.nat(0xffff_ffff),
      payload: fc.uint8Array({ maxLength: 200 }),
    }),
    { maxLength: 12 },
  );

  test('frames come out as they went in, in any chunks', () => {
    fc.assert(
      fc.property(frames, fc.array(fc.integer({ min: 1, max: 100 })), (sent, steps) => {
        const bytes = Buffer.concat(sent.map((f) => encodeFrame(f.type, f.flag, f.stream, f.payload)));
        const decoding = inStep();
        let at = 0;
        for (const step of steps) {
          decoding.push(bytes.subarray(at, at + step));
          at += step;
        }
        decoding.push(bytes.subarray(at));
        expect(decoding.frames).toEqual(
          sent.map((f) => `${f.type}/${f.flag}/${f.stream}:${Buffer.from(f.payload).toString('hex')}`),
        );
      }),
      seeded,
    );
  });

  test('frames of the largest size come out whole, however many', () => {
    const large = encodeFrame(frameType.DATA, 1, 9, Buffer.alloc(maxPayloadBytes, 'z'));
    const decoding = inStep().push(...Array.from({ length: 40 }, () => large));
    expect(decoding.frames).toHaveLength(40);
    expect(new Set(decoding.frames).size).toBe(1);
  });

  test('one changed bit in a header or trailer is a breach of protocol', () => {
    const good = encodeFrame(frameType.DATA, 0, 1, Buffer.from('payload'));
    for (let bit = 0; bit < good.length * 8; bit++) {
      const byte = bit >> 3;
      if (byte >= 16 && byte < good.length - 4) continue;
      const bad = Buffer.from(good);
      bad[byte] = (bad[byte] ?? 0) ^ (1 << (bit & 7));
      expect(() => inStep().push(bad, Buffer.alloc(maxFrameBytes))).toThrow(
        expect.objectContaining({ code: 'GuestProtocol' }),
      );
    }
  });

  test('zeros are a breach of protocol', () => {
    expect(() => inStep().push(Buffer.alloc(16))).toThrow(expect.objectContaining({ code: 'GuestProtocol' }));
  });

  test('any bytes are frames, wait for more, or are a breach of protocol', () => {
    const torn = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      frames.map((sent) => {
        const bytes = Buffer.concat(sent.map((f) => encodeFrame(f.type, f.flag, f.stream, f.payload)));
        return bytes.subarray(0, bytes.length - 1);
      }),
    );
    fc.assert(
      fc.property(fc.array(torn), (chunks) => {
        try {
          inStep().push(...chunks);
        } catch (error) {
          expect(isAlcoveError(error, 'GuestProtocol')).toBe(true);
        }
      }),
      seeded,
    );
  });
});

test('there is always room to read into, and never a buffer that grows', () => {
  const decoding = new Decoding();
  const backing = decoding.decoder.space().buffer;
  const noise = Buffer.alloc(100_000, 2); // 2 is the type of the frame that is hunted for.
  for (let i = 0; i < 50; i++) decoding.push(noise);
  expect(decoding.decoder.space().buffer).toBe(backing);
  expect(decoding.decoder.space().length).toBeGreaterThanOrEqual(maxFrameBytes);
});
