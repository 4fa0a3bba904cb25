import type { Clock } from '../host/index.ts';
import { systemClock } from '../host/index.ts';
import type { ImageStore } from '../images/index.ts';
import type { Database } from '../store/index.ts';
import type { Random, VmRuntime } from '../vm/index.ts';
import { Background } from './background.ts';
import type { ExecutorContext } from './context.ts';
import { EphemeralSnapshots } from './ephemeral-snapshots.ts';
import { Executor } from './executor.ts';
import type { ExecuteFailpoint } from './failpoints.ts';
import { reconcile } from './reconcile.ts';
import { type CacheLimits, Registry } from './registry/index.ts';
import { destroyLeftRuns } from './run/left-runs.ts';

export interface OpenExecutorOptions {
  runtime: VmRuntime;
  images: ImageStore;
  database: Database;
  limits: CacheLimits;
  platform: ExecutorContext['platform'];
  random: Random;
  /** @default the system's */
  clock?: Clock;
  warn?: (message: string) => void;
  failpoint?: ExecuteFailpoint;
}

/**
 * Opens the executor of a state directory, and mends what an engine that died left: destroys the machines of its runs, and brings
 * results and snapshots together.
 *
 * @throws AlcoveError `StateUnusable`, `StateCorrupt`, `InvalidInput` (limits)
 */
export async function openExecutor(
  options: OpenExecutorOptions,
): Promise<{ executor: Executor; mended: string[] }> {
  const { runtime, images, database, limits, platform, random, failpoint } = options;
  const { clock = systemClock, warn = () => undefined } = options;
  const context: ExecutorContext = {
    runtime,
    images,
    registry: new Registry(database, {
      limits,
      isPinned: (snapshot) => runtime.snapshots.usersOf(snapshot).length > 0,
    }),
    clock,
    random,
    platform,
    ephemeral: new EphemeralSnapshots(),
    background: new Background(warn),
    warn,
    at: async (name) => failpoint?.(name),
  };
  const mended = [...(await destroyLeftRuns(runtime)), ...(await reconcile(context))];
  return { executor: new Executor(context), mended };
}
