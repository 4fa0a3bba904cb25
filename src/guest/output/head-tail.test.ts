import fc from 'fast-check';
import { expect, test } from 'vitest';
import { seeded } from '../../../test/guest/seeded.ts';
import { HeadTail } from './head-tail.ts';

function collect(maxBytes: number, chunks: readonly (string | Uint8Array)[]) {
  const kept = new HeadTail(maxBytes);
  for (const chunk of chunks) kept.push(Buffer.from(chunk as Uint8Array));
  const { bytes, droppedBytes } = kept.finish();
  return { text: bytes.toString(), droppedBytes };
}

test('output within the cap is kept as it is', () => {
  expect(collect(10, ['hello', 'world'])).toEqual({ text: 'helloworld', droppedBytes: 0 });
});

test('beyond the cap the first and the last bytes are kept, with a mark between', () => {
  expect(collect(8, ['0123456789', 'abcdefghij'])).toEqual({
    text: '0123\n… 12 bytes left out …\nghij',
    droppedBytes: 12,
  });
});

test('characters that the cut would split are left out whole', () => {
  // Five of "é" (two bytes each), cut inside the second and inside the last but one.
  expect(collect(6, ['ééééé'])).toEqual({ text: 'é\n… 6 bytes left out …\né', droppedBytes: 6 });
});

test('with a cap of 0 only the mark is left', () => {
  expect(collect(0, ['abc'])).toEqual({ text: '\n… 3 bytes left out …\n', droppedBytes: 3 });
  expect(collect(0, [])).toEqual({ text: '', droppedBytes: 0 });
});

test('a flood takes no more memory than the cap', () => {
  const kept = new HeadTail(65_536);
  const chunk = Buffer.alloc(1 << 20, 'x');
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 200; i++) kept.push(chunk);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
  expect(kept.finish().droppedBytes).toBe(200 * (1 << 20) - 65_536);
});

test('any chunking keeps the same: the first and last halves of the whole', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ max: 127, maxLength: 40 }), { maxLength: 20 }),
      fc.integer({ min: 0, max: 100 }),
      (chunks, max) => {
        const whole = Buffer.concat(chunks).toString();
        const half = Math.ceil(max / 2);
        const cut = whole.length - max;
        const mark = `\n… ${cut} bytes left out …\n`;
        const expected =
          cut <= 0 ? whole : whole.slice(0, half) + mark + whole.slice(whole.length - (max - half));
        expect(collect(max, chunks)).toEqual({ text: expected, droppedBytes: Math.max(0, cut) });
      },
    ),
    seeded,
  );
});
