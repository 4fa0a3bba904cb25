import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';

/** What a file's bytes are: their number, and their SHA-256 as hex digits. */
export const fileDigestSchema = z.object({ sizeBytes: z.number().int(), sha256: z.string() });
export type FileDigest = Readonly<z.infer<typeof fileDigestSchema>>;

/** Reads a whole file, a piece at a time. @throws what the file system says, or the signal's `AbortError` */
export async function digestFile(path: string, signal?: AbortSignal): Promise<FileDigest> {
  const file = createReadStream(path, { highWaterMark: 1 << 20 });
  const hash = createHash('sha256');
  await pipeline(file, hash, signal ? { signal } : {});
  return { sizeBytes: file.bytesRead, sha256: hash.digest('hex') };
}
