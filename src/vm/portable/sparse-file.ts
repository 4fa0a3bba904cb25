import { open } from 'node:fs/promises';

/** What is written or left out at once; a multiple of every file system's block. */
const stepBytes = 64 << 10;
const zeros = Buffer.alloc(stepBytes);

/**
 * Writes a file whole and synced, with holes where it has long runs of zeros: a dump of memory takes no more room than where it came
 * from. It must not exist yet.
 */
export async function writeSparseFile(path: string, chunks: AsyncIterable<Buffer>): Promise<void> {
  await using file = await open(path, 'wx', 0o600);
  let position = 0;
  for await (const chunk of chunks) {
    for (let from = 0; from < chunk.length; from += stepBytes) {
      const step = chunk.subarray(from, from + stepBytes);
      if (!isZero(step)) await writeAll(file, step, position);
      position += step.length;
    }
  }
  await file.truncate(position);
  await file.sync();
}

function isZero(bytes: Buffer): boolean {
  return bytes.equals(bytes.length === stepBytes ? zeros : zeros.subarray(0, bytes.length));
}

async function writeAll(
  file: {
    write(data: Buffer, offset: number, length: number, position: number): Promise<{ bytesWritten: number }>;
  },
  bytes: Buffer,
  position: number,
): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}
