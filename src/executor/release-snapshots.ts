import { isAlcoveError } from '../errors.ts';
import type { SnapshotRef } from '../vm/index.ts';
import type { ExecutorContext } from './context.ts';

/** Lets go of snapshots that nobody keeps any more; they go when nothing needs them. One that cannot be removed is a warning: the next engine tries again. */
export async function releaseSnapshots(
  { runtime, ephemeral, warn }: ExecutorContext,
  snapshots: readonly SnapshotRef[],
): Promise<void> {
  for (const snapshot of snapshots) {
    try {
      ephemeral.drop(snapshot);
      await runtime.snapshots.release(snapshot);
    } catch (error) {
      if (isAlcoveError(error, 'SnapshotNotFound')) continue;
      warn(`could not remove snapshot ${snapshot}: ${(error as Error).message}`);
    }
  }
}
