import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { AlcoveError } from '../errors.ts';

/**
 * Writes a file of this host whole or not at all: beside its name, then in place of what is there. A device or pipe is written
 * as it is. Only this user can read the file.
 *
 * @returns how many bytes it has
 * @throws AlcoveError `HostFile`, and what `chunks` throws
 */
export async function writeWhole(path: string, chunks: AsyncIterable<Uint8Array>): Promise<number> {
  const there = await stat(path).catch(() => undefined);
  if (there?.isDirectory()) throw hostFile(path, new Error('it is a folder'));
  const isSpecial = there !== undefined && !there.isFile();
  const place = isSpecial ? path : join(dirname(path), `.${basename(path)}.${process.pid}.part`);
  let sizeBytes = 0;
  try {
    await using file = await onHost(path, () => open(place, isSpecial ? 'w' : 'wx', 0o600));
    for await (const chunk of chunks) {
      await onHost(path, () => writeAll(file, chunk));
      sizeBytes += chunk.length;
    }
    if (isSpecial) return sizeBytes;
    await onHost(path, () => file.sync());
    await onHost(path, () => rename(place, path));
    return sizeBytes;
  } catch (error) {
    if (!isSpecial) await rm(place, { force: true });
    throw error;
  }
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let done = 0; done < chunk.length; ) done += (await file.write(chunk, done)).bytesWritten;
}

async function onHost<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw hostFile(path, error as Error);
  }
}

function hostFile(path: string, cause: Error): AlcoveError<'HostFile'> {
  return new AlcoveError('HostFile', `cannot write ${path}: ${cause.message}`, {
    remedy: 'Make room there, or name another file.',
    details: { path },
    cause,
  });
}
