import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { AlcoveError, isAlcoveError } from '../../errors.ts';
import { toolOutput } from '../tool-output.ts';
import { ByteSource } from './byte-source.ts';
import { readZstd } from './zstd-frames.ts';

/** First bytes of what may be compressed. The bytes decide, not the media type: it is wrong often enough. */
const formats = [
  { name: 'gzip', magic: Buffer.from([0x1f, 0x8b]), read: readGzip },
  { name: 'zstd', magic: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), read: readZstd },
  // zstd:chunked may start with a skippable frame.
  { name: 'zstd', magic: Buffer.from([0x50, 0x2a, 0x4d, 0x18]), read: readZstd },
  { name: 'xz', magic: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]), read: readXz },
] as const;

/**
 * Uncompresses gzip, zstd and xz; passes anything else on as it is.
 *
 * @throws AlcoveError `ImageInvalid` for malformed or cut data
 */
export async function* decompressed(
  chunks: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): AsyncGenerator<Buffer> {
  const source = new ByteSource(chunks);
  try {
    const head = await source.read(6);
    const format = formats.find(({ magic }) => head.subarray(0, magic.length).equals(magic));
    const whole = prepend(head, source);
    yield* format ? format.read(whole, signal) : whole;
  } finally {
    await source.close();
  }
}

async function* prepend(head: Buffer, source: ByteSource): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head;
  yield* source.stream(Number.POSITIVE_INFINITY);
}

async function* readGzip(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const input = Readable.from(chunks, { objectMode: false });
  const gunzip = createGunzip({ chunkSize: 256 << 10 });
  let inputError: Error | undefined;
  input.on('error', (error) => {
    inputError = error;
    gunzip.destroy(error);
  });
  input.pipe(gunzip);
  try {
    for await (const chunk of gunzip) yield chunk as Buffer;
  } catch (error) {
    if (inputError) throw inputError;
    throw new AlcoveError('ImageInvalid', `malformed gzip data: ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    input.destroy();
    gunzip.destroy();
  }
}

async function* readXz(chunks: AsyncIterable<Uint8Array>, signal?: AbortSignal): AsyncGenerator<Buffer> {
  try {
    yield* toolOutput('xz', ['--decompress', '--stdout'], { input: chunks, signal });
  } catch (error) {
    if (!isAlcoveError(error, 'ToolFailed')) throw error;
    throw new AlcoveError('ImageInvalid', `malformed xz data: ${error.message}`, { cause: error });
  }
}
