import { extract, type Header } from 'tar-stream';
import { AlcoveError, cancelled } from '../../errors.ts';

/** An entry of tar-stream: its header, and its bytes to iterate. */
export interface Entry extends AsyncIterable<unknown> {
  header: Header;
  resume(): unknown;
}

/**
 * Hands over the entries of a tar stream, one after the other; what is left of an entry's bytes is passed over. The
 * stream is let go of at the end, whatever ends it.
 *
 * @throws AlcoveError `InvalidInput` when the archive is damaged, `Cancelled`; and what the stream or `onEntry` throws
 */
export async function readEntries(
  tar: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
  onEntry: (entry: Entry) => Promise<void>,
): Promise<void> {
  const parser = extract();
  const source = tar[Symbol.asyncIterator]();
  let sourceError: { error: unknown } | undefined;
  let damage: unknown;
  let over = false;
  let wake = () => {};
  const stop = () => {
    over = true;
    wake();
  };
  const onAbort = () => parser.destroy(cancelled('unpacking', signal));
  const feed = async (): Promise<void> => {
    parser.on('drain', () => wake());
    while (!over) {
      const next = await source.next();
      if (over) return;
      if (next.done) {
        parser.end(null);
        return;
      }
      if (parser.write(next.value)) continue;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  parser.on('close', stop);
  parser.on('error', (error) => {
    damage ??= error; // What a reader of an entry gets to see is that the parser has gone.
  });
  if (signal?.aborted) onAbort();
  feed().catch((error) => {
    sourceError = { error };
    parser.destroy(error);
  });
  try {
    for await (const entry of parser) {
      await onEntry(entry);
      entry.resume();
    }
  } catch (error) {
    if (sourceError) throw sourceError.error;
    if (signal?.aborted) throw cancelled('unpacking', signal);
    throw error instanceof AlcoveError ? error : badArchive(damage ?? error);
  } finally {
    stop();
    signal?.removeEventListener('abort', onAbort);
    parser.destroy();
    // Not waited for: a source that hangs would hang here too.
    Promise.resolve(source.return?.()).catch(() => {});
  }
}

function badArchive(cause: unknown): AlcoveError<'InvalidInput'> {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new AlcoveError('InvalidInput', `the archive is damaged: ${why}`, {
    cause,
    details: { field: 'tar' },
  });
}
