import { constants, createZstdCompress } from 'node:zlib';
import { roomIn } from '../../images/index.ts';

/**
 * Compresses a stream to one zstd frame, with its checksum. The same bytes give the same frame, however they are cut into
 * chunks, from the same zstd; Node brings it along.
 *
 * @param level of zstd, 1 (fastest) to 22
 */
export async function* zstdCompressed(
  chunks: AsyncIterable<Uint8Array>,
  level: number = constants.ZSTD_CLEVEL_DEFAULT,
): AsyncGenerator<Uint8Array> {
  const compress = createZstdCompress({
    chunkSize: 256 << 10,
    params: { [constants.ZSTD_c_checksumFlag]: 1, [constants.ZSTD_c_compressionLevel]: level },
  });
  let failure: { error: unknown } | undefined;
  const feeding = (async () => {
    for await (const chunk of chunks) {
      if (compress.destroyed) return;
      if (!compress.write(chunk)) await roomIn(compress);
    }
    compress.end();
  })().catch((error: unknown) => {
    failure = { error };
    compress.destroy();
  });
  try {
    for await (const chunk of compress) yield chunk as Uint8Array;
  } catch (error) {
    if (!failure) throw error; // Else it is only that the stream was destroyed.
  } finally {
    compress.destroy();
    await feeding; // Which closes the file that it was reading.
  }
  if (failure) throw failure.error;
}
