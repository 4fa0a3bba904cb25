import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { decompressed } from './decompress.ts';

const data = Buffer.concat([randomBytes(300_000), Buffer.alloc(2_000_000, 'text ')]);
const xz = (input: Buffer) => spawnSync('xz', ['--stdout'], { input, maxBuffer: 16 << 20 }).stdout;
const skippable = Buffer.concat([Buffer.from([0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0]), Buffer.from('skip')]);

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function read(compressed: Buffer, pieceBytes = 10_007): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of decompressed(inPieces(compressed, pieceBytes))) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

const right: [what: string, compressed: Buffer, expected: Buffer][] = [
  ['nothing', Buffer.alloc(0), Buffer.alloc(0)],
  ['three bytes', Buffer.from('abc'), Buffer.from('abc')],
  ['plain bytes', data, data],
  ['gzip', gzipSync(data), data],
  ['gzip of two members', Buffer.concat([gzipSync(data), gzipSync(data)]), Buffer.concat([data, data])],
  ['zstd', zstdCompressSync(data), data],
  ['zstd of nothing', zstdCompressSync(Buffer.alloc(0)), Buffer.alloc(0)],
  [
    'zstd of many frames',
    Buffer.concat([zstdCompressSync(data), zstdCompressSync(data)]),
    Buffer.concat([data, data]),
  ],
  ['zstd with frames to skip', Buffer.concat([skippable, zstdCompressSync(data), skippable]), data],
  ['xz', xz(data), data],
];

test.each(right)('%s is read', async (_what, compressed, expected) => {
  expect((await read(compressed)).equals(expected)).toBe(true);
});

const cut = (bytes: Buffer) => bytes.subarray(0, bytes.length - 5);
const wrong: [what: string, compressed: Buffer][] = [
  ['cut gzip', cut(gzipSync(data))],
  ['gzip with other bytes in it', Buffer.from(gzipSync(data)).fill('x', 200_000, 200_100)],
  ['cut zstd', cut(zstdCompressSync(data))],
  ['zstd cut in its header', zstdCompressSync(data).subarray(0, 5)],
  ['zstd with a block of no known type', Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x07, 0, 0])],
  ['zstd with something after it', Buffer.concat([zstdCompressSync(data), Buffer.from('more')])],
  ['cut xz', cut(xz(data))],
];

test.each(wrong)('%s is refused', async (_what, compressed) => {
  await expect(read(compressed)).rejects.toMatchObject({ code: 'ImageInvalid' });
});

test.each(right)('a reader of %s that stops early ends everything', async (_what, compressed) => {
  let closed = compressed.length === 0;
  const source = (async function* () {
    try {
      yield* inPieces(compressed, 1000);
    } finally {
      closed = true;
    }
  })();
  for await (const _ of decompressed(source)) break;
  expect(closed).toBe(true);
});
