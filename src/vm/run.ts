import { AlcoveError } from '../errors.ts';

/** One run of a machine, from its start to its end. */
export class Run {
  readonly #listeners = new Set<(reason: string | undefined) => void>();
  #over = false;
  #reason: string | undefined;

  /** Why it ended, when it was not asked to. */
  get reason(): string | undefined {
    return this.#reason;
  }

  /** Calls back when it ends, or at once when it has; with the reason when it was not asked to. Returns how to stop listening. */
  onEnd(listener: (reason: string | undefined) => void): () => void {
    if (this.#over) listener(this.#reason);
    else this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** It ended by itself. */
  die(reason: string): void {
    if (this.#over) return;
    this.#reason = reason;
    this.finish();
  }

  /** It ended as asked, or this engine sees no more of it. */
  finish(): void {
    if (this.#over) return;
    this.#over = true;
    for (const listener of this.#listeners) listener(this.#reason);
    this.#listeners.clear();
  }
}

/** The error for whoever waited on a VM that died. */
export function vmDied(id: string, reason: string): AlcoveError<'VmFailed'> {
  return new AlcoveError('VmFailed', `VM ${id} ended by itself: ${reason}`, {
    details: { vmId: id, reason },
  });
}
