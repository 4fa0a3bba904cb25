import { isAlcoveError } from '../../errors.ts';
import type { SnapshotRef } from '../../vm/index.ts';
import type { ActionResult } from '../action.ts';
import type { ActionRunner, HeldResult } from '../execute-options.ts';
import type { PlannedStep } from './plan-pipeline.ts';

/** The snapshots that the steps of a run have made: held for those that start from them, and removed in the end unless they are stored. */
export class MadeSnapshots {
  readonly #held = new Map<string, HeldResult>();
  /** How many steps that start from a step's snapshot have not ended. */
  readonly #children = new Map<string, number>();
  readonly #toRemove: SnapshotRef[] = [];

  constructor(steps: readonly PlannedStep[]) {
    for (const { parent } of steps) this.#count(parent, 1);
  }

  add(step: string, held: HeldResult): void {
    const { snapshot } = held.result;
    if (snapshot !== undefined && !isStored(held.result)) this.#toRemove.push(snapshot);
    if (snapshot === undefined || !this.#children.get(step)) held[Symbol.dispose]();
    else this.#held.set(step, held);
  }

  /** Absent for a step that has not passed, or that no other starts from. */
  of(step: string): { snapshot: SnapshotRef; stored: boolean } | undefined {
    const result = this.#held.get(step)?.result;
    return result?.snapshot && { snapshot: result.snapshot, stored: isStored(result) };
  }

  /** A step that starts from this one has ended, or never will begin. */
  childEnded(step: string): void {
    this.#count(step, -1);
    if (this.#children.get(step)) return;
    this.#held.get(step)?.[Symbol.dispose]();
    this.#held.delete(step);
  }

  /** Removes what is not stored, last made first: an earlier one may be what a later one builds on. */
  async removeUnstored(runner: ActionRunner, warn: (message: string) => void): Promise<void> {
    for (const snapshot of this.#toRemove.splice(0).reverse()) {
      try {
        await runner.removeSnapshot(snapshot);
      } catch (error) {
        if (isAlcoveError(error, 'SnapshotNotFound')) continue; // Somebody collected garbage meanwhile.
        warn(
          `the snapshot ${snapshot} could not be removed: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
  }

  #count(step: string | undefined, more: number): void {
    if (step !== undefined) this.#children.set(step, (this.#children.get(step) ?? 0) + more);
  }
}

/** Whether what was made outlives the run. */
export function isStored({ key, snapshot }: ActionResult): boolean {
  return key !== undefined && snapshot !== undefined;
}
