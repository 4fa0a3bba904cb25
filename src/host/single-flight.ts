import { cancelled } from '../errors.ts';

/** What a caller that waits may say, and is told. */
export interface FlightOptions {
  signal?: AbortSignal;
  onProgress?: (progress: { step: string }) => void;
}

/** What work under way may use: a signal that fires when nobody waits for it any more, and a way to say how far it is. */
export interface FlightContext {
  signal: AbortSignal;
  report(step: string): void;
}

interface Flight<T> {
  result: Promise<T>;
  abort: AbortController;
  waiters: Set<FlightOptions>;
  lastStep: { step: string } | undefined;
}

/**
 * Runs work that several callers ask for at once only once. Each caller sees its progress; one that gives up leaves the
 * others their result, and the last one to give up stops the work and waits until it has cleaned up.
 */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>();

  async run(key: string, options: FlightOptions, work: (context: FlightContext) => Promise<T>): Promise<T> {
    const { signal } = options;
    if (signal?.aborted) throw cancelled(key, signal);
    const under = this.#flights.get(key);
    // Work that was given up is still cleaning up: this call is a new one, after it.
    if (under?.abort.signal.aborted) {
      await under.result.catch(() => undefined);
      return this.run(key, options, work);
    }
    const flight = under ?? this.#start(key, work);
    flight.waiters.add(options);
    if (under?.lastStep) options.onProgress?.(under.lastStep);
    const gaveUp = Promise.withResolvers<never>();
    const onAbort = () => {
      flight.waiters.delete(options);
      const error = cancelled(key, signal);
      if (flight.waiters.size > 0) return gaveUp.reject(error);
      flight.abort.abort(signal?.reason);
      flight.result.then(
        () => gaveUp.reject(error),
        () => gaveUp.reject(error),
      );
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([flight.result, gaveUp.promise]);
    } catch (error) {
      throw signal?.aborted ? cancelled(key, signal) : error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      flight.waiters.delete(options);
    }
  }

  /** Whether work of that key is under way that a caller would join. */
  has(key: string): boolean {
    const flight = this.#flights.get(key);
    return flight !== undefined && !flight.abort.signal.aborted;
  }

  #start(key: string, work: (context: FlightContext) => Promise<T>): Flight<T> {
    const abort = new AbortController();
    const flight: Flight<T> = {
      abort,
      waiters: new Set(),
      lastStep: undefined,
      result: Promise.resolve()
        .then(() =>
          work({
            signal: abort.signal,
            report: (step) => {
              flight.lastStep = { step };
              for (const waiter of flight.waiters) waiter.onProgress?.({ step });
            },
          }),
        )
        .finally(() => this.#flights.delete(key)),
    };
    flight.result.catch(() => undefined); // Every waiter sees it; with none left nobody needs to.
    this.#flights.set(key, flight);
    return flight;
  }
}
