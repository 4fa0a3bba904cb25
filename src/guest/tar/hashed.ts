import type { Hash } from 'node:crypto';

/** The same bytes, which go through a hash on their way. */
export async function* hashed(
  bytes: AsyncIterable<Uint8Array>,
  hash: Hash,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of bytes) {
    hash.update(chunk);
    yield chunk;
  }
}
