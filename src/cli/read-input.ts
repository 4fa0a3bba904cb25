import type { Readable } from 'node:stream';
import { AlcoveError } from '../errors.ts';

/** Standard input as chunks. Disposing ends the iteration at once, also one that waits for a key. */
export interface Input extends AsyncIterable<Uint8Array>, Disposable {}

/**
 * Reads a stream chunk by chunk, asking for the next only when the one before was taken. Unlike a stream's own
 * iterator, its `return` does not wait for data that may never come, and leaves the stream open.
 *
 * @throws AlcoveError `HostFile` while iterating, when the stream cannot be read
 */
export function readInput(stream: Readable): Input {
  let ended = false;
  let wake: (() => void) | undefined;
  const notify = () => wake?.();
  const events = ['readable', 'end', 'close', 'error'];
  const stop = () => {
    if (ended) return;
    ended = true;
    for (const event of events) stream.off(event, notify);
    notify();
  };
  for (const event of events) stream.on(event, notify);

  async function next(): Promise<IteratorResult<Uint8Array, undefined>> {
    while (!ended) {
      if (stream.errored) {
        const { errored } = stream;
        stop();
        throw new AlcoveError('HostFile', `cannot read standard input: ${errored.message}`, {
          cause: errored,
        });
      }
      const chunk: unknown = stream.read();
      if (chunk !== null) return { done: false, value: bytesOf(chunk) };
      if (stream.readableEnded || stream.destroyed) break;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    stop();
    return { done: true, value: undefined };
  }

  return {
    [Symbol.asyncIterator]: () => ({
      next,
      return: () => {
        stop();
        return Promise.resolve({ done: true, value: undefined });
      },
    }),
    [Symbol.dispose]: stop,
  };
}

function bytesOf(chunk: unknown): Uint8Array {
  return chunk instanceof Uint8Array ? chunk : Buffer.from(String(chunk));
}
