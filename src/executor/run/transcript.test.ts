import fc from 'fast-check';
import { expect, test } from 'vitest';
import { seeded } from '../../../test/guest/seeded.ts';
import { decodeRetained, encodeRetained, piecesOf, type Stream, Transcript, textOf } from './transcript.ts';

function kept(maxBytes: number, pieces: readonly [Stream, string | Uint8Array][]) {
  const transcript = new Transcript(maxBytes);
  for (const [stream, bytes] of pieces) transcript.push(stream, Buffer.from(bytes));
  return transcript.retained();
}

test('output within the cap is kept whole, in the order in which it came', () => {
  const retained = kept(1000, [
    ['stdout', 'one '],
    ['stdout', 'two '],
    ['stderr', 'oops'],
    ['stdout', 'three'],
  ]);
  expect(piecesOf(retained).map(({ stream, bytes }) => [stream, Buffer.from(bytes).toString()])).toEqual([
    ['stdout', 'one two '],
    ['stderr', 'oops'],
    ['stdout', 'three'],
  ]);
  expect(textOf(retained, 'stdout')).toBe('one two three');
  expect(retained.dropped).toEqual({ stdout: 0, stderr: 0 });
});

test('beyond it, the beginning and the end are kept, and each stream says how much is missing', () => {
  const retained = kept(400, [
    ['stdout', 'a'.repeat(1000)],
    ['stderr', 'b'.repeat(1000)],
    ['stdout', 'the end'],
  ]);
  const out = textOf(retained, 'stdout');
  expect(out.startsWith('aaa')).toBe(true);
  expect(out.endsWith('the end')).toBe(true);
  expect(out).toContain(`\n… ${retained.dropped.stdout} bytes left out …\n`);
  expect(out.match(/a/g)?.length).toBe(1000 - retained.dropped.stdout);
});

test('characters that the cut would split are left out whole', () => {
  const retained = kept(301, [['stdout', '€'.repeat(200)]]);
  expect(textOf(retained, 'stdout')).not.toContain('\ufffd');
  expect((600 - retained.dropped.stdout) % 3).toBe(0);
});

test('a million pieces of one byte from both streams take little memory', () => {
  const transcript = new Transcript(65_536);
  for (let i = 0; i < 500_000; i++) {
    transcript.push('stdout', Buffer.of(0x61));
    transcript.push('stderr', Buffer.of(0x62));
  }
  const { head, tail, dropped } = transcript.retained();
  expect(head.length + tail.length).toBeLessThan(65_536 / 32);
  expect(dropped.stdout + dropped.stderr + head.length + tail.length).toBe(1_000_000);
});

test('any output, in any pieces: what is kept is a beginning and an end of it, nothing is counted twice, and it is the same once stored', () => {
  const piece = fc.tuple(
    fc.constantFrom<Stream>('stdout', 'stderr'),
    fc.uint8Array({ max: 127, maxLength: 300 }),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), fc.integer({ min: 0, max: 2000 }), (pieces, max) => {
      const retained = kept(max, pieces);
      for (const stream of ['stdout', 'stderr'] as const) {
        const whole = Buffer.concat(pieces.filter(([of]) => of === stream).map(([, bytes]) => bytes));
        const partOf = (part: typeof retained.head) =>
          Buffer.concat(part.filter((one) => one.stream === stream).map(({ bytes }) => bytes));
        const [head, tail] = [partOf(retained.head), partOf(retained.tail)];
        expect(head.length + tail.length + retained.dropped[stream]).toBe(whole.length);
        expect(whole.subarray(0, head.length).equals(head)).toBe(true);
        expect(whole.subarray(whole.length - tail.length).equals(tail)).toBe(true);
      }
      const total = [...retained.head, ...retained.tail].reduce((sum, { bytes }) => sum + bytes.length, 0);
      expect(total).toBeLessThanOrEqual(max);
      expect(piecesOf(decodeRetained(encodeRetained(retained))).map(plain)).toEqual(
        piecesOf(retained).map(plain),
      );
    }),
    seeded,
  );
});

const plain = ({ stream, bytes }: { stream: Stream; bytes: Uint8Array }) => [stream, Buffer.from(bytes)];

test('stored output that was damaged is an error', () => {
  const encoded = encodeRetained(kept(100, [['stdout', 'x']]));
  const large = encodeRetained(kept(100_000, [['stdout', 'x'.repeat(50_000)]]));
  expect(large.length).toBeLessThan(1000);
  for (const bad of [encoded.subarray(0, 5), large.subarray(0, 9), Buffer.from('nonsense'), new Uint8Array()])
    expect(() => decodeRetained(bad)).toThrowError(expect.objectContaining({ code: 'StateCorrupt' }));
});
