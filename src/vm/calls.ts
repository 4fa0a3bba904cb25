import { AlcoveError } from '../errors.ts';
import type { BackendCallOptions } from './backend.ts';

/** The calls under way on one runtime: each ends when its own signal fires, and all do when the runtime closes. */
export class Calls {
  readonly #closing = new AbortController();
  readonly #underWay = new Set<Promise<unknown>>();

  /** Runs a call with a signal that fires for either reason. `work` begins before this returns, so that calls keep their order. */
  async run<T>(options: BackendCallOptions, work: (call: BackendCallOptions) => Promise<T>): Promise<T> {
    this.requireOpen();
    const closing = this.#closing.signal;
    const ended = new AbortController();
    const onAbort = () => ended.abort(options.signal?.reason);
    const onClose = () => ended.abort(closing.reason);
    if (options.signal?.aborted) onAbort();
    options.signal?.addEventListener('abort', onAbort, { once: true });
    closing.addEventListener('abort', onClose, { once: true });
    const { onProgress } = options;
    const done = work({ signal: ended.signal, ...(onProgress && { onProgress }) });
    this.#underWay.add(done);
    try {
      return await done;
    } finally {
      this.#underWay.delete(done);
      options.signal?.removeEventListener('abort', onAbort);
      closing.removeEventListener('abort', onClose);
    }
  }

  /**
   * A call that gives its result piece by piece. Closing does not wait for its reader, who may never come back: the next piece it asks
   * for is an error.
   */
  async *stream<T>(
    options: BackendCallOptions,
    work: (call: BackendCallOptions) => AsyncIterable<T>,
  ): AsyncGenerator<T, void, undefined> {
    this.requireOpen();
    const closing = this.#closing.signal;
    const { signal, onProgress } = options;
    yield* work({
      signal: signal ? AbortSignal.any([signal, closing]) : closing,
      ...(onProgress && { onProgress }),
    });
  }

  /** @throws AlcoveError `Cancelled` once the runtime is closed */
  requireOpen(): void {
    this.#closing.signal.throwIfAborted();
  }

  /** Ends every call and waits for them. Returns the error they ended with. */
  async close(): Promise<AlcoveError<'Cancelled'>> {
    const closed = new AlcoveError('Cancelled', 'the engine was closed', { remedy: 'Open it again.' });
    this.#closing.abort(closed);
    await Promise.allSettled(this.#underWay);
    return closed;
  }
}
