/** Joins small pieces, so that headers of a few hundred bytes do not each cost a write. Large ones pass as they are. */
export async function* coalesced(
  chunks: AsyncIterable<Buffer>,
  sizeBytes = 256 << 10,
): AsyncGenerator<Buffer> {
  let pieces: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    pieces.push(chunk);
    size += chunk.length;
    if (size >= sizeBytes) {
      yield Buffer.concat(pieces, size);
      pieces = [];
      size = 0;
    }
  }
  if (size > 0) yield Buffer.concat(pieces, size);
}
