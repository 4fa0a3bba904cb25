import type { SnapshotRef } from '../../vm/index.ts';

/** Snapshots that are in use, counted. They are of this process: when it ends, nothing of it uses anything. */
export class Leases {
  readonly #counts = new Map<SnapshotRef, number>();

  take(snapshot: SnapshotRef): Disposable {
    this.#counts.set(snapshot, (this.#counts.get(snapshot) ?? 0) + 1);
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        const left = (this.#counts.get(snapshot) ?? 1) - 1;
        if (left > 0) this.#counts.set(snapshot, left);
        else this.#counts.delete(snapshot);
      },
    };
  }

  has(snapshot: SnapshotRef): boolean {
    return this.#counts.has(snapshot);
  }
}
