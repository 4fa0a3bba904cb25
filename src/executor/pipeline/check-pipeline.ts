import { AlcoveError } from '../../errors.ts';
import { findCycle } from './graph.ts';
import type { Pipeline, Step } from './pipeline.ts';
import { meant, pipelineInvalid, problemOf } from './pipeline-problem.ts';
import { pipelineSchema } from './pipeline-schema.ts';
import { isCached } from './step-policy.ts';

/**
 * What a user's file exports, as a pipeline: a copy, of which everything is checked that can be known before it is run.
 *
 * @throws AlcoveError `PipelineInvalid`, with the step where it is one; `ParentNotCached`
 * @example
 * const pipeline = checkPipeline((await import('./ci.ts')).default);
 */
export function checkPipeline(value: unknown): Pipeline {
  const parsed = pipelineSchema.safeParse(value);
  if (!parsed.success) throw problemOf(parsed.error);
  // The schema takes a field that is undefined for one that is left out; after this it is.
  const pipeline = withoutUndefined(parsed.data) as unknown as Pipeline;
  const names = Object.keys(pipeline.steps);
  const needs = new Map(names.map((name) => [name, needsOf(pipeline.steps[name])]));
  for (const [name, step] of Object.entries(pipeline.steps)) checkStep(name, step, names);
  const cycle = findCycle(needs);
  if (cycle) {
    throw pipelineInvalid(`waits for itself: ${cycle.join(' → ')}`, {
      step: cycle[0],
      remedy: 'Let one of these steps not wait for the next.',
    });
  }
  for (const [name, step] of Object.entries(pipeline.steps)) checkCaching(name, step, pipeline);
  return pipeline;
}

/** The step that it starts from first. */
export function needsOf(step: Step | undefined): string[] {
  if (step === undefined) return [];
  return [...new Set(['step' in step.from ? [step.from.step] : [], step.after ?? []].flat())];
}

function checkStep(name: string, step: Step, names: readonly string[]): void {
  const parent = 'step' in step.from ? step.from.step : undefined;
  for (const needed of needsOf(step)) {
    const how = needed === parent ? 'starts from' : 'waits for';
    if (needed === name) {
      throw pipelineInvalid(`${how} itself`, { step: name, remedy: 'Name another step.' });
    }
    if (!names.includes(needed)) {
      throw pipelineInvalid(`${how} ${JSON.stringify(needed)}, which is no step`, {
        step: name,
        remedy: meant(needed, names),
      });
    }
  }
  if (step.limits !== undefined && !('image' in step.from)) {
    throw pipelineInvalid('has limits and does not start from an image', {
      step: name,
      remedy: 'Give the limits to the step that starts from the image: the others have its machine.',
    });
  }
}

function checkCaching(name: string, step: Step, pipeline: Pipeline): void {
  if (!('step' in step.from) || !isCached(step, pipeline)) return;
  const parent = pipeline.steps[step.from.step];
  if (parent === undefined || isCached(parent, pipeline)) return;
  throw new AlcoveError(
    'ParentNotCached',
    `step ${name} is cached, and step ${step.from.step}, which it starts from, is not`,
    { details: { step: name, parent: step.from.step } },
  );
}

function withoutUndefined(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutUndefined);
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(fields.map(([name, field]) => [name, withoutUndefined(field)]));
}
