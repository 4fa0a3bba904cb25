import { resolve } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import type { Action, ActionSource, CacheMode, CachePolicy, Injection } from '../action.ts';
import { needsOf } from './check-pipeline.ts';
import { withNeeds } from './graph.ts';
import type { Pipeline, Step } from './pipeline.ts';
import { meant } from './pipeline-problem.ts';
import { cachePolicy } from './step-policy.ts';

/** A step with everything worked out that does not depend on how others end. */
export interface PlannedStep {
  readonly name: string;
  readonly step: Step;
  /** The step whose snapshot it starts from. */
  readonly parent: string | undefined;
  /** The steps that must have passed, the parent among them. */
  readonly needs: readonly string[];
  readonly policy: CachePolicy;
  /** What is executed. @param source absent: what the step itself names */
  action(source?: ActionSource): Action;
}

/**
 * The steps that take part, in the order of declaration.
 *
 * @param pipeline one that was checked
 * @throws AlcoveError `InvalidInput` for an `only` that names no step
 */
export function planPipeline(
  pipeline: Pipeline,
  { only, mode }: { only?: readonly string[] | undefined; mode?: CacheMode | undefined },
): PlannedStep[] {
  const names = Object.keys(pipeline.steps);
  const needs = new Map(names.map((name) => [name, needsOf(pipeline.steps[name])]));
  if (only) checkOnly(only, names);
  const wanted = withNeeds(only ?? names, needs);
  const base = resolve(pipeline.base ?? '.');
  return Object.entries(pipeline.steps)
    .filter(([name]) => wanted.has(name))
    .map(([name, step]) => ({
      name,
      step,
      parent: 'step' in step.from ? step.from.step : undefined,
      needs: needs.get(name) ?? [],
      policy: cachePolicy(step, pipeline, { base, mode }),
      action: (source) => actionOf(step, source ?? ownSource(step), { base, name: fullName(pipeline, name) }),
    }));
}

function checkOnly(only: readonly string[], names: readonly string[]): void {
  const details = { field: 'only' };
  if (only.length === 0) throw new AlcoveError('InvalidInput', 'only names no step', { details });
  const unknown = only.find((name) => !names.includes(name));
  if (unknown === undefined) return;
  throw new AlcoveError('InvalidInput', `only names ${JSON.stringify(unknown)}, which is no step`, {
    details,
    remedy: meant(unknown, names),
  });
}

function fullName(pipeline: Pipeline, step: string): string {
  return pipeline.name === undefined ? step : `${pipeline.name}/${step}`;
}

function ownSource({ from }: Step): ActionSource {
  // Explaining gives what the parent would be apart, and then nobody looks at the source.
  return 'step' in from ? { snapshot: 'not-made/yet' } : from;
}

function actionOf(
  { from: _, after: __, cache: ___, inject, ...rest }: Step,
  source: ActionSource,
  { base, name }: { base: string; name: string },
): Action {
  const based = (injection: Injection) => ({ ...injection, from: resolve(base, injection.from) });
  return {
    ...rest,
    source,
    name,
    ...(inject && { inject: [inject].flat().map(based) }),
  };
}
