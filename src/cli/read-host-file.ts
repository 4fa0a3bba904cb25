import { createReadStream } from 'node:fs';
import { AlcoveError } from '../errors.ts';

/** The bytes of a file of this host. @throws AlcoveError `HostFile` while iterating */
export async function* readHostFile(path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(path, { highWaterMark: 256 << 10 }) as AsyncIterable<Uint8Array>;
  } catch (error) {
    throw new AlcoveError('HostFile', `cannot read ${path}: ${(error as Error).message}`, {
      details: { path },
      cause: error,
    });
  }
}
