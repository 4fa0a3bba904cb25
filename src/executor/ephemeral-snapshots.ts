import type { SnapshotRef } from '../vm/index.ts';

/** Snapshots of actions that are not cached, with how many callers have each. */
export class EphemeralSnapshots {
  readonly #owners = new Map<SnapshotRef, number>();

  /** One more caller has it. */
  add(ref: SnapshotRef): void {
    this.#owners.set(ref, (this.#owners.get(ref) ?? 0) + 1);
  }

  has(ref: SnapshotRef): boolean {
    return this.#owners.has(ref);
  }

  /** One caller needs it no more. Returns whether nobody does. */
  drop(ref: SnapshotRef): boolean {
    const left = (this.#owners.get(ref) ?? 1) - 1;
    if (left > 0) this.#owners.set(ref, left);
    else this.#owners.delete(ref);
    return left <= 0;
  }

  all(): SnapshotRef[] {
    return [...this.#owners.keys()];
  }
}
