import type { PipelineEvent, StepOutcome } from '../../executor/index.ts';

/** A step as it is now. */
export interface StepState {
  readonly name: string;
  /** Its place among the steps. */
  readonly index: number;
  /** Steps that must be over before it begins. */
  readonly needs: readonly string[];
  phase:
    | { is: 'waiting' }
    | { is: 'running'; sinceMs: number; doing?: string }
    | { is: 'over'; outcome: StepOutcome; atMs: number };
}

/** All steps by name, in the order of the pipeline, as the events so far left them. */
export type StepStates = Map<string, StepState>;

/** @param nowMs by the clock that draws: a monotonic one */
export function applyEvent(steps: StepStates, event: PipelineEvent, nowMs: number): void {
  if (event.event === 'pipeline-started') {
    for (const { step, from, after } of event.steps) {
      const needs = 'step' in from ? [from.step, ...after] : [...after];
      steps.set(step, { name: step, index: steps.size, needs, phase: { is: 'waiting' } });
    }
  } else if (event.event === 'step-started') {
    become(steps, event.step, { is: 'running', sinceMs: nowMs });
  } else if (event.event === 'step-progress') {
    const phase = steps.get(event.step)?.phase;
    const sinceMs = phase?.is === 'running' ? phase.sinceMs : nowMs;
    become(steps, event.step, { is: 'running', sinceMs, doing: event.doing });
  } else if (event.event === 'step-ended') {
    become(steps, event.outcome.step, { is: 'over', outcome: event.outcome, atMs: nowMs });
  }
}

function become(steps: StepStates, name: string, phase: StepState['phase']): void {
  const step = steps.get(name);
  if (step) step.phase = phase;
}
