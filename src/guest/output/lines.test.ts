import fc from 'fast-check';
import { expect, test } from 'vitest';
import { seeded } from '../../../test/guest/seeded.ts';
import { LineSplitter, lines } from './lines.ts';

function split(chunks: readonly Uint8Array[], maxLineBytes?: number): string[] {
  const splitter = new LineSplitter(maxLineBytes === undefined ? {} : { maxLineBytes });
  return [...chunks.flatMap((chunk) => splitter.push(chunk)), ...splitter.end()];
}

test.each([
  ['', []],
  ['a', ['a']],
  ['a\n', ['a']],
  ['a\n\nb', ['a', '', 'b']],
  ['a\r\nb\r\n', ['a', 'b']],
  ['50%\r100%\n', ['50%\r100%']],
  ['\r\n', ['']],
  ['1234567890\n', ['1234567890']],
  ['1234567890\r\n', ['1234567890']],
  ['12345678901\n', ['1234567890… 1 bytes left out …']],
  ['123456789é123\r\nx', ['123456789… 5 bytes left out …', 'x']],
])('%j is the lines %j', (text, expected) => {
  expect(split([Buffer.from(text)], 10)).toEqual(expected);
});

test('characters that arrive in pieces come out whole', () => {
  const bytes = Buffer.from('grüße 👋\n');
  expect(split([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(['grüße 👋']);
});

test('a reader of a stream gets each line as soon as it is there', async () => {
  async function* stream() {
    yield Buffer.from('one\ntw');
    throw new Error('the stream broke');
  }
  const iterator = lines(stream());
  expect(await iterator.next()).toEqual({ done: false, value: 'one' });
  await expect(iterator.next()).rejects.toThrow('the stream broke');
});

test('any chunking gives the same lines', () => {
  const piece = fc.constantFrom('a', '\n', '\r', '\r\n', 'é', '👋', 'long enough to be cut', '\xff');
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 30 }),
      fc.array(fc.nat(8)),
      fc.integer({ min: 1, max: 12 }),
      (pieces, cuts, max) => {
        const bytes = Buffer.from(pieces.join(''));
        const chunks: Buffer[] = [];
        let at = 0;
        for (const cut of cuts) {
          chunks.push(bytes.subarray(at, at + cut));
          at += cut;
        }
        chunks.push(bytes.subarray(at));
        expect(split(chunks, max)).toEqual(split([bytes], max));
      },
    ),
    seeded,
  );
});
