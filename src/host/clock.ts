/** Time, injected wherever a test must not wait for it. */
export interface Clock {
  /** Wall clock, ms since the epoch. May jump. */
  now(): number;
  /** Monotonic ms; only differences mean something. */
  monotonic(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it fires first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls back after `ms`, unless the returned function is called before. Does not keep the process alive. */
  timer(ms: number, callback: () => void): () => void;
}

/** Longest timer that Node has; a longer one would ring at once. One that rings after 24 days instead of later does no harm. */
const longestMs = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep(ms, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => {
        clearTimeout(timeout);
        reject(signal?.reason);
      };
      const timeout = setTimeout(
        () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
        Math.min(ms, longestMs),
      );
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  },
  timer(ms, callback) {
    const timeout = setTimeout(callback, Math.min(ms, longestMs));
    timeout.unref();
    return () => clearTimeout(timeout);
  },
};
