import { AlcoveError, cancelled } from '../../errors.ts';
import type { Clock } from '../../host/index.ts';

/** Whether a scripted guest is sealed, by whom, and who waits for that to end. */
export class MemorySeal {
  readonly #clock: Clock;
  readonly #onChange: (state: 'sealed' | 'open') => void;
  #sealed: { line: object; opened: PromiseWithResolvers<void>; stopTimer: () => void } | undefined;

  constructor(clock: Clock, onChange: (state: 'sealed' | 'open') => void) {
    this.#clock = clock;
    this.#onChange = onChange;
  }

  /** Seals it; one that is sealed already stays so for longer, and its line's. @param line who may thaw it */
  close(line: object, maxMs: number): void {
    this.#sealed?.stopTimer();
    // In the host's time, for the guest's stands still.
    const stopTimer = this.#clock.timer(maxMs, () => this.open());
    if (this.#sealed) this.#sealed.stopTimer = stopTimer;
    else {
      const opened = Promise.withResolvers<void>();
      opened.promise.catch(() => undefined); // Whoever waits gets it; nobody has to.
      this.#sealed = { line, opened, stopTimer };
      this.#onChange('sealed');
    }
  }

  /** Ends it, on the line that made it. @throws AlcoveError `InvalidInput` on another one */
  thaw(line: object): void {
    if (this.#sealed && this.#sealed.line !== line) {
      throw new AlcoveError(
        'InvalidInput',
        'the guest was sealed on another line; only renewing it ends that',
        {
          details: { field: 'thaw' },
        },
      );
    }
    this.open();
  }

  /** Ends it, whoever made it. */
  open(): void {
    this.#end()?.opened.resolve();
  }

  /** Ends it with the machine: who waits gets the error. */
  break(error: Error): void {
    this.#end()?.opened.reject(error);
  }

  /** Waits until it is open, if it is not. @throws AlcoveError `Cancelled`; and what `closed` resolves with */
  async whenOpen(what: string, closed: Promise<Error>, signal?: AbortSignal): Promise<void> {
    while (this.#sealed) {
      const aborted = Promise.withResolvers<Error>();
      const onAbort = () => aborted.resolve(cancelled(what, signal));
      signal?.addEventListener('abort', onAbort, { once: true });
      try {
        const failure = await Promise.race([this.#sealed.opened.promise, closed, aborted.promise]);
        if (failure) throw failure;
      } finally {
        signal?.removeEventListener('abort', onAbort);
      }
    }
  }

  #end() {
    const sealed = this.#sealed;
    this.#sealed = undefined;
    sealed?.stopTimer();
    if (sealed) this.#onChange('open');
    return sealed;
  }
}
