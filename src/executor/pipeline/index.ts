/**
 * Graphs of named steps.
 *
 * `check-pipeline.ts` decides what is one, `plan-pipeline.ts` turns its steps into actions, `schedule.ts` says which may begin, and
 * `run-pipeline.ts` runs them; `event-writer.ts` tells of it.
 */
export { checkPipeline } from './check-pipeline.ts';
export { explainPipeline } from './explain-pipeline.ts';
export type * from './pipeline.ts';
export { runWasCancelled } from './pipeline.ts';
export { type PipelineRunnerOptions, runPipeline } from './run-pipeline.ts';
