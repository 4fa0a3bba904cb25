/**
 * What calls under way need and no row says yet: snapshots being restored, exported or built on, images and kernels of VMs and
 * snapshots being made. Of this process: when it ends, nothing of it needs anything.
 */
export class Pins {
  readonly #counts = new Map<string, number>();

  /** Holds a snapshot's uid, or the digest of an image, kernel or initramfs, until disposed. */
  hold(name: string): Disposable {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        const left = (this.#counts.get(name) ?? 1) - 1;
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
