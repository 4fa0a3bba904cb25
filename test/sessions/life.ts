import type { Clock } from '../../src/host/index.ts';

const never = () => new Promise<never>(() => undefined);

/**
 * The life of an engine in a test. What was given to it through here goes on only as long as it lives: afterwards no promise settles, no
 * timer rings and no call does anything, as in a process that was killed.
 */
export class Life {
  #isOver = false;

  get isOver(): boolean {
    return this.#isOver;
  }

  end(): void {
    this.#isOver = true;
  }

  async hold<T>(promise: Promise<T>): Promise<T> {
    try {
      const value = await promise;
      return this.#isOver ? never() : value;
    } catch (error) {
      if (this.#isOver) return never();
      throw error;
    }
  }

  clock(clock: Clock): Clock {
    return {
      now: () => clock.now(),
      monotonic: () => clock.monotonic(),
      sleep: (ms, signal) => this.hold(clock.sleep(ms, signal)),
      timer: (ms, callback) => clock.timer(ms, () => this.#isOver || callback()),
    };
  }

  /** @param tell hears of every call before it is made, by its name with dots */
  object<T extends object>(target: T, tell: Tell = () => undefined, path = ''): T {
    return new Proxy(target, {
      get: (_, key) => {
        const value: unknown = Reflect.get(target, key);
        const name = `${path}${String(key)}`;
        if (value instanceof Promise) return this.hold(value);
        if (isHandle(value)) return this.object(value, tell, `${name}.`);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => {
          if (this.#isOver) return never();
          const ended = tell(name, args);
          const result: unknown = value.apply(target, args);
          if (!(result instanceof Promise)) return result;
          if (ended)
            result.then(
              () => ended('done'),
              () => ended('failed'),
            );
          return this.hold(
            result.then((found) => (isHandle(found) ? this.object(found, tell, `${name}.`) : found)),
          );
        };
      },
    });
  }
}

/** Hears of a call; what it returns hears of its end. */
export type Tell = (
  call: string,
  args: readonly unknown[],
) => ((outcome: 'done' | 'failed') => void) | undefined;

/** Calls of a runtime, a guest's channel and files, a process: not data. */
function isHandle(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  return ['exec', 'kill', 'tarOut', 'labelled', 'fill'].some((name) => name in value);
}
