import type { Writable } from 'node:stream';

/**
 * Writes to a stream and resolves when it has room for more, so that a slow reader slows down the writer instead of
 * filling memory. Resolves as well when the stream has ended, or `signal` fired: what nobody reads is dropped.
 */
export function writeStream(
  stream: Writable,
  chunk: Uint8Array | string,
  signal: AbortSignal,
): Promise<void> {
  if (stream.destroyed || stream.writableEnded || stream.errored) return Promise.resolve();
  if (stream.write(chunk) || signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      for (const event of ['drain', 'close', 'error']) stream.off(event, done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    for (const event of ['drain', 'close', 'error']) stream.on(event, done);
    signal.addEventListener('abort', done);
  });
}
