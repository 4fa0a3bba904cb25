/** Work that no caller waits for, and that an orderly end does. */
export class Background {
  readonly #underWay = new Set<Promise<void>>();
  readonly #warn: (message: string) => void;

  constructor(warn: (message: string) => void) {
    this.#warn = warn;
  }

  /** @param what for people, e.g. `destroy VM run-1`: a failure is a warning that says so */
  run(what: string, work: () => Promise<unknown>): void {
    const done = work().then(
      () => undefined,
      (error: unknown) => this.#warn(`could not ${what}: ${error instanceof Error ? error.message : error}`),
    );
    this.#underWay.add(done);
    done.then(() => this.#underWay.delete(done));
  }

  get isIdle(): boolean {
    return this.#underWay.size === 0;
  }

  /** Resolves when one of those under way has ended. */
  async next(): Promise<void> {
    await Promise.race(this.#underWay);
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }
}
