import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import type { FileDigest } from './vm-record.ts';

/** Reads a whole file. */
export async function digestFile(path: string, signal?: AbortSignal): Promise<FileDigest> {
  const { size } = await stat(path);
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash, signal ? { signal } : {});
  return { sizeBytes: size, sha256: hash.digest('hex') };
}
