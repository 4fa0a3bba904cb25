import type { Action } from './action.ts';
import type { ExecutorContext } from './context.ts';
import { storedInputs } from './keys/index.ts';
import type { KeyedPlan } from './plan.ts';
import { releaseSnapshots } from './release-snapshots.ts';
import type { RanAction } from './run/run-action.ts';
import { encodeRetained } from './run/transcript.ts';

/**
 * Stores what a run made under its key, and lets go of what has no entry any more by that; of one that failed, only that it did.
 *
 * @returns the key; `undefined` when it could not be stored, which is told and leaves the result as it is
 */
export async function storeResult(
  context: ExecutorContext,
  action: Action,
  { key, inputs }: KeyedPlan,
  ran: RanAction,
  options: { durationMs: number; warn: (message: string) => void },
): Promise<string | undefined> {
  const { registry, clock, background } = context;
  const nowMs = clock.now();
  const { made, exit, output } = ran;
  if (!made) {
    noteFailure(context, key, `exit code ${exit.exitCode}`);
    return key;
  }
  try {
    const gone = registry.put(
      {
        key,
        snapshot: made.snapshot,
        ...('snapshot' in action.source && { parent: action.source.snapshot }),
        ...(action.name !== undefined && { name: action.name }),
        sizeBytes: made.sizeBytes,
        durationMs: options.durationMs,
        ...(inputs && { inputs: storedInputs(inputs, key) }),
        output: encodeRetained(output),
      },
      { nowMs },
    );
    await context.at('execute.stored');
    background.run('remove what was evicted', async () => {
      await releaseSnapshots(context, gone);
      await context.at('execute.released');
    });
    return key;
  } catch (error) {
    options.warn(`the result could not be stored: ${(error as Error).message}`);
    return undefined;
  }
}

/** Notes why a key has no result, for `explain`; that alone is no reason for a call to fail. */
export function noteFailure({ registry, clock, warn }: ExecutorContext, key: string, detail: string): void {
  try {
    registry.recordFailure(key, { nowMs: clock.now(), detail });
  } catch (error) {
    warn(`could not note that ${key} failed: ${(error as Error).message}`);
  }
}
