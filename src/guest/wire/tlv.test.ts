import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { seeded } from '../../../test/guest/seeded.ts';
import { isAlcoveError } from '../../errors.ts';
import { maxPayloadBytes, tag } from '../protocol.ts';
import { TlvReader } from './tlv-reader.ts';
import { TlvWriter } from './tlv-writer.ts';

describe('a request', () => {
  test('holds what was written, in order, and nothing for what is absent', () => {
    const written = new TlvWriter()
      .text(tag.PATH, 'path', '/é')
      .text(tag.CWD, 'cwd', undefined)
      .u8(tag.STDIN, 'stdin', 1)
      .u16Pair(tag.PTY, 'pty', 24, 80)
      .u32(tag.MODE, 'mode', 0o644)
      .u64(tag.OFFSET, 'offset', 2 ** 40)
      .flag(tag.APPEND, undefined)
      .flag(tag.PARENTS, true)
      .finish();
    const read = new TlvReader(written);
    expect(read.path(tag.PATH)).toBe('/é');
    expect(read.has(tag.CWD)).toBe(false);
    expect(read.u8(tag.STDIN)).toBe(1);
    expect(read.bytes(tag.PTY)).toEqual(Buffer.of(24, 0, 80, 0));
    expect(read.u32(tag.MODE)).toBe(0o644);
    expect(read.u64(tag.OFFSET)).toBe(2 ** 40);
    expect(read.has(tag.APPEND)).toBe(false);
    expect(read.u8(tag.PARENTS)).toBe(1);
  });

  test('of the largest size is sent; a larger one is refused, naming the field', () => {
    const largest = maxPayloadBytes - 6;
    expect(new TlvWriter().bytes(tag.ENTROPY, 'seed', Buffer.alloc(largest)).finish()).toHaveLength(65_536);
    expect(() => new TlvWriter().bytes(tag.ENTROPY, 'seed', Buffer.alloc(largest + 1))).toThrow(
      expect.objectContaining({ code: 'InvalidInput', details: { field: 'seed' } }),
    );
  });

  test.each([[-1], [1.5], [Number.NaN], [2 ** 32]])('does not take %d for a u32', (value) => {
    expect(() => new TlvWriter().u32(tag.MODE, 'mode', value)).toThrow(/mode must be a whole number/);
  });

  test('does not take text with a NUL', () => {
    expect(() => new TlvWriter().text(tag.PATH, 'path', '/a\0b')).toThrow(/NUL/);
  });
});

describe('an answer', () => {
  test('with text for people loses control characters and what is too long', () => {
    const payload = new TlvWriter().bytes(tag.MESSAGE, '', Buffer.from('\u001b[31mred\u202e abc')).finish();
    expect(new TlvReader(payload).text(tag.MESSAGE, 8)).toBe('�[31mred');
  });

  test('with an unknown tag is read past it', () => {
    const payload = Buffer.concat([
      Buffer.from([255, 255, 1, 0, 0, 0, 7]),
      new TlvWriter().u8(tag.READY, '', 1).finish(),
    ]);
    expect(new TlvReader(payload).u8(tag.READY)).toBe(1);
  });

  test('of any bytes is read, or is a breach of protocol', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          const read = new TlvReader(Buffer.from(bytes));
          for (const number of Object.values(tag)) {
            read.text(number, 10);
            read.path(number);
            for (const width of ['u8', 'u32', 'u64', 'i64'] as const) read[width](number);
          }
        } catch (error) {
          expect(isAlcoveError(error, 'GuestProtocol')).toBe(true);
        }
      }),
      seeded,
    );
  });

  test('is what a request with the same values was', () => {
    const entry = fc.record({
      tag: fc.constantFrom(...Object.values(tag)),
      value: fc.uint8Array({ maxLength: 50 }),
    });
    fc.assert(
      fc.property(fc.uniqueArray(entry, { selector: (e) => e.tag }), (entries) => {
        const writer = new TlvWriter();
        for (const { tag, value } of entries) writer.bytes(tag, 'value', value);
        const read = new TlvReader(writer.finish());
        for (const { tag, value } of entries) expect(read.bytes(tag)).toEqual(Buffer.from(value));
      }),
      seeded,
    );
  });
});
