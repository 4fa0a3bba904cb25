import { createZstdDecompress } from 'node:zlib';
import { AlcoveError } from '../../errors.ts';
import { ByteSource } from './byte-source.ts';
import { roomIn } from './room-in.ts';

const frameMagic = 0xfd2fb528;
/** 0x184d2a50 to 0x184d2a5f: metadata that carries no content. */
const isSkippable = (magic: number) => magic >>> 4 === 0x184d2a5;

/**
 * Uncompresses zstd of any number of frames (RFC 8878). Images have many: zstd:chunked writes one a file, pzstd one a chunk.
 *
 * Node's decompressor up to 24 stops silently after the first frame and takes a cut one for whole, so frames are found here
 * and given to it one by one.
 *
 * @throws AlcoveError `ImageInvalid`
 */
export async function* readZstd(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const source = new ByteSource(chunks);
  try {
    for (;;) {
      const magic = await source.read(4);
      if (magic.length === 0) return;
      if (magic.length < 4) throw cut();
      const value = magic.readUInt32LE();
      if (isSkippable(value)) {
        const size = (await exactly(source, 4)).readUInt32LE();
        if ((await source.skip(size)) < size) throw cut();
      } else if (value === frameMagic) {
        yield* decompressFrame(frame(source, magic));
      } else {
        throw new AlcoveError('ImageInvalid', 'zstd data is followed by something else');
      }
    }
  } finally {
    await source.close();
  }
}

async function* decompressFrame(compressed: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const decompress = createZstdDecompress({ chunkSize: 256 << 10 });
  let inputError: unknown;
  const feeding = (async () => {
    for await (const chunk of compressed) {
      if (decompress.destroyed) return;
      if (!decompress.write(chunk)) await roomIn(decompress);
    }
    decompress.end();
  })().catch((error: unknown) => {
    inputError = error;
    decompress.destroy();
  });
  try {
    for await (const chunk of decompress) yield chunk as Buffer;
  } catch (error) {
    if (inputError === undefined)
      throw new AlcoveError('ImageInvalid', 'malformed zstd data', { cause: error });
  } finally {
    decompress.destroy();
    await feeding;
  }
  if (inputError !== undefined) throw inputError;
}

/** The bytes of one frame: header, blocks up to the one marked last, checksum. */
async function* frame(source: ByteSource, magic: Buffer): AsyncGenerator<Buffer> {
  const descriptor = await exactly(source, 1);
  const flags = descriptor[0] ?? 0;
  const singleSegment = (flags >> 5) & 1;
  const contentSizeBytes = [singleSegment, 2, 4, 8][flags >> 6] ?? 0;
  const dictionaryBytes = [0, 1, 2, 4][flags & 3] ?? 0;
  const header = await exactly(source, 1 - singleSegment + dictionaryBytes + contentSizeBytes);
  yield Buffer.concat([magic, descriptor, header]);
  for (let last = false; !last; ) {
    const blockHeader = await exactly(source, 3);
    const bits = blockHeader.readUIntLE(0, 3);
    last = (bits & 1) === 1;
    const isRun = ((bits >> 1) & 3) === 1; // One byte, repeated `size` times.
    const size = isRun ? 1 : bits >> 3;
    yield Buffer.concat([blockHeader, await exactly(source, size)]);
  }
  if (flags & 4) yield await exactly(source, 4);
}

async function exactly(source: ByteSource, size: number): Promise<Buffer> {
  const data = await source.read(size);
  if (data.length < size) throw cut();
  return data;
}

function cut(): AlcoveError<'ImageInvalid'> {
  return new AlcoveError('ImageInvalid', 'the zstd data is cut short', { details: { problem: 'cut short' } });
}
