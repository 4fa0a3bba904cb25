import type { Action } from './action.ts';
import type { ExecutorContext } from './context.ts';
import type { SourceFacts } from './execute-options.ts';
import type { Explanation, MissReason, NearestEntry } from './explanation.ts';
import { changesBetween, type Inputs, storedInputs } from './keys/index.ts';
import { inputsFor, type Plan, type PlanOptions } from './plan.ts';

/** So many earlier entries of each kind are compared. */
const comparedEntries = 20;

/** Says whether a plan is a hit now, and why; and what an action that starts from its snapshot would start from. */
export async function explainPlan(
  context: ExecutorContext,
  action: Action,
  plan: Plan,
  options: PlanOptions,
): Promise<{ explanation: Explanation; becomes?: SourceFacts }> {
  if (plan === 'not cached') return { explanation: { verdict: 'not cached' } };
  const { key, inputs, source } =
    plan.inputs && plan.source
      ? { key: plan.key, inputs: plan.inputs, source: plan.source }
      : { key: plan.key, ...(await inputsFor(context, action, options)) };
  const becomes: SourceFacts = { ...source, identity: { parent: key } };
  const miss = await whyMiss(context, key, plan.maxAgeMs);
  if ('hit' in miss) return { explanation: { verdict: 'hit', key, entry: miss.hit }, becomes };
  const nearest = nearestEntry(context, key, inputs, action.name);
  return { explanation: { verdict: 'miss', key, why: miss, ...(nearest && { nearest }) }, becomes };
}

async function whyMiss(
  { registry, runtime, clock }: ExecutorContext,
  key: string,
  maxAgeMs: number | undefined,
): Promise<MissReason | { hit: NonNullable<ReturnType<typeof registry.peek>> }> {
  const entry = registry.peek(key);
  if (!entry) {
    const history = registry.history(key);
    return history ? { reason: 'gone', history } : { reason: 'new' };
  }
  const ageMs = clock.now() - entry.createdAtMs;
  if (maxAgeMs !== undefined && (ageMs < 0 || ageMs > maxAgeMs))
    return { reason: 'expired', entry, maxAgeMs };
  if (!(await runtime.snapshots.has(entry.snapshot))) return { reason: 'snapshot gone', entry };
  return { hit: entry };
}

/** The entry that has the fewest other inputs, a whole folder counting as one; of several, the latest. */
function nearestEntry(
  { registry }: ExecutorContext,
  key: string,
  now: Inputs,
  name: string | undefined,
): NearestEntry | undefined {
  const candidates = registry
    .candidates({ ...(name !== undefined && { name }), inputs: storedInputs(now, key) }, comparedEntries)
    .filter(({ entry }) => entry.key !== key)
    .map((candidate) => ({
      ...candidate,
      differences: changesBetween(withoutTrees(candidate.inputs), candidate.entry.key, withoutTrees(now))
        .length,
    }))
    .sort((a, b) => a.differences - b.differences || b.entry.createdAtMs - a.entry.createdAtMs);
  const [nearest] = candidates;
  if (!nearest) return undefined;
  const { entry, inputs } = nearest;
  return {
    key: entry.key,
    createdAtMs: entry.createdAtMs,
    ...(entry.name !== undefined && { name: entry.name }),
    changes: changesBetween(registry.inputs(entry.key) ?? inputs, entry.key, now),
  };
}

function withoutTrees<T extends { trees: readonly unknown[] }>(inputs: T): T {
  return { ...inputs, trees: [] };
}
