import { AlcoveError } from '../errors.ts';
import type { Action, CacheMode, CachePolicy } from './action.ts';
import type { ExecutorContext } from './context.ts';
import type { SourceFacts } from './execute-options.ts';
import { injectedTree } from './inject/index.ts';
import { type InjectedTree, type Inputs, inputsOf, keyOf, resolveKeyPolicy } from './keys/index.ts';
import { checkCacheKey } from './registry/index.ts';
import { injectionsOf } from './run/run-action.ts';
import { sourceFacts } from './source-facts.ts';

/** How an action is looked up and stored. */
export type Plan = 'not cached' | KeyedPlan;

export interface KeyedPlan {
  key: string;
  mode: CacheMode;
  maxAgeMs?: number;
  /** What would be the inputs, and the key, with these trees injected; `undefined` where the key is the caller's. */
  rekey?: (trees: readonly InjectedTree[]) => { key: string; inputs: Inputs };
  /** Of a key that was made. */
  inputs?: Inputs;
  source?: SourceFacts;
}

export interface PlanOptions {
  signal?: AbortSignal;
  onProgress?: (step: string) => void;
  /** What the source is, where it is not there yet. */
  from?: SourceFacts;
}

/** @throws AlcoveError `InvalidInput`, `HostFile`, `ImageNotFound`, `SnapshotNotFound`, `ParentNotCached`, `Cancelled` */
export async function planFor(
  context: ExecutorContext,
  action: Action,
  policy: CachePolicy,
  options: PlanOptions,
): Promise<Plan> {
  if (policy === 'none') return 'not cached';
  const mode = checkMode(policy.mode);
  if ('cache' in policy) {
    checkCacheKey(policy.cache);
    checkMaxAge(policy.maxAgeMs);
    // Not for its inputs, which nobody asked for: a source that is not cached is an error, whoever makes the key.
    if ('snapshot' in action.source && !options.from) await sourceFacts(context, action, options);
    return {
      key: policy.cache,
      mode,
      ...(policy.maxAgeMs !== undefined && { maxAgeMs: policy.maxAgeMs }),
    };
  }
  const { signal } = options;
  const resolved = await resolveKeyPolicy(policy.auto, signal ? { signal } : {});
  if (resolved === 'none') return 'not cached';
  const source = options.from ?? (await sourceFacts(context, action, options));
  const rekey = (trees: readonly InjectedTree[]) => {
    const inputs = inputsOf(action, { source, ...context.platform, files: resolved.files, trees });
    return { key: keyOf(inputs), inputs };
  };
  const trees = await treesOf(action, options);
  return {
    ...rekey(trees),
    mode,
    ...(resolved.maxAgeMs !== undefined && { maxAgeMs: resolved.maxAgeMs }),
    rekey,
    source,
  };
}

/** Inputs of an action whose key is the caller's, for comparing. */
export async function inputsFor(
  context: ExecutorContext,
  action: Action,
  options: PlanOptions,
): Promise<{ inputs: Inputs; source: SourceFacts }> {
  const source = options.from ?? (await sourceFacts(context, action, options));
  const trees = await treesOf(action, options);
  return { inputs: inputsOf(action, { source, ...context.platform, trees }), source };
}

async function treesOf(action: Action, { signal }: PlanOptions): Promise<InjectedTree[]> {
  const trees: InjectedTree[] = [];
  for (const injection of injectionsOf(action))
    trees.push(await injectedTree(injection, signal ? { signal } : {}));
  return trees;
}

function checkMode(mode: CacheMode = 'use'): CacheMode {
  if (['use', 'refresh', 'readOnly'].includes(mode)) return mode;
  throw new AlcoveError(
    'InvalidInput',
    `mode must be "use", "refresh" or "readOnly", not ${JSON.stringify(mode)}`,
    {
      details: { field: 'mode' },
    },
  );
}

function checkMaxAge(maxAgeMs: number | undefined): void {
  if (maxAgeMs === undefined || maxAgeMs > 0) return;
  throw new AlcoveError('InvalidInput', `maxAgeMs must be positive, not ${maxAgeMs}`, {
    details: { field: 'maxAgeMs' },
  });
}
