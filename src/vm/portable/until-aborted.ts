import { cancelled } from '../../errors.ts';

/**
 * The same chunks until `signal` fires; then `Cancelled` at once, also while a source that has nothing to say is being waited for.
 * The source is let go of at the end, and not waited for: one that hangs would hang here, too.
 */
export async function* untilAborted<T>(
  source: AsyncIterable<T>,
  signal: AbortSignal,
  what: string,
): AsyncGenerator<T> {
  const chunks = source[Symbol.asyncIterator]();
  let giveUp: ((error: unknown) => void) | undefined;
  const onAbort = () => giveUp?.(cancelled(what, signal));
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    for (;;) {
      if (signal.aborted) throw cancelled(what, signal);
      // Not `Promise.race`: a promise that lives as long as the stream would keep a record of every chunk.
      const next = await new Promise<IteratorResult<T>>((resolve, reject) => {
        giveUp = reject;
        chunks.next().then(resolve, reject);
      });
      if (next.done) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    Promise.resolve(chunks.return?.()).catch(() => undefined);
  }
}
