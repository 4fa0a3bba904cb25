import { AlcoveError, isAlcoveError } from '../../errors.ts';
import type { ActionRunner, SourceFacts } from '../execute-options.ts';
import type { StepExplanation } from '../explanation.ts';
import { checkPipeline } from './check-pipeline.ts';
import { inOrder } from './graph.ts';
import type { Pipeline } from './pipeline.ts';
import { type PlannedStep, planPipeline } from './plan-pipeline.ts';

/**
 * Whether each step would be a hit now, and why; in the order of declaration. Runs nothing: what a step would start from is worked out
 * from what its parent would become.
 *
 * @throws AlcoveError `PipelineInvalid`, `ParentNotCached`, `InvalidInput`, `Cancelled`; and what explaining a step throws, with its name
 */
export async function explainPipeline(
  runner: ActionRunner,
  pipeline: Pipeline,
  options: { signal?: AbortSignal; only?: readonly string[] } = {},
): Promise<StepExplanation[]> {
  const steps = new Map(planPipeline(checkPipeline(pipeline), options).map((step) => [step.name, step]));
  const explained = new Map<string, Explained>();
  for (const name of inOrder(new Map([...steps].map(([each, { needs }]) => [each, needs])))) {
    const step = steps.get(name);
    if (step) explained.set(name, await explainStep(runner, step, explained, options.signal));
  }
  return [...steps.keys()].flatMap((step) => {
    const explanation = explained.get(step)?.explanation;
    return explanation ? { step, explanation } : [];
  });
}

type Explained = Awaited<ReturnType<ActionRunner['explainStep']>>;

async function explainStep(
  runner: ActionRunner,
  { name, parent, policy, action }: PlannedStep,
  earlier: ReadonlyMap<string, Explained>,
  signal: AbortSignal | undefined,
): Promise<Explained> {
  const from: SourceFacts | undefined = parent === undefined ? undefined : earlier.get(parent)?.becomes;
  if (policy === 'none' || (parent !== undefined && from === undefined)) {
    return { explanation: { verdict: 'not cached' } };
  }
  try {
    return await runner.explainStep(action(), policy, { ...(signal && { signal }), ...(from && { from }) });
  } catch (error) {
    if (!isAlcoveError(error)) throw error;
    const { code, message, remedy, details } = error;
    throw new AlcoveError(code, `step ${name}: ${message}`, {
      remedy,
      cause: error,
      ...(details && { details }),
    });
  }
}
