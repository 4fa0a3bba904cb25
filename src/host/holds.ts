/** Who needs what, by name: each holds it until it lets go, and it stays as long as one does. */
export class Holds {
  readonly #counts = new Map<string, number>();

  /** Holds it until disposed. */
  hold(name: string): Disposable {
    this.#counts.set(name, this.countOf(name) + 1);
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        const left = this.countOf(name) - 1;
        if (left > 0) this.#counts.set(name, left);
        else this.#counts.delete(name);
      },
    };
  }

  /** As {@link hold}, for several at once. */
  holdAll(names: Iterable<string>): Disposable {
    const holds = Array.from(names, (name) => this.hold(name));
    return {
      [Symbol.dispose]: () => {
        for (const hold of holds) hold[Symbol.dispose]();
      },
    };
  }

  /** How many hold it. */
  countOf(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  has(name: string): boolean {
    return this.#counts.has(name);
  }

  names(): Iterable<string> {
    return this.#counts.keys();
  }
}
