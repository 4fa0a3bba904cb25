import { AlcoveError } from '../../errors.ts';
import type { Clock } from '../../host/index.ts';
import type { ActionRunner } from '../execute-options.ts';
import { checkPipeline } from './check-pipeline.ts';
import { EventWriter } from './event-writer.ts';
import { MadeSnapshots } from './made-snapshots.ts';
import {
  type Pipeline,
  type PipelineResult,
  type RunPipelineOptions,
  runWasCancelled,
  type StepOutcome,
} from './pipeline.ts';
import { type PlannedStep, planPipeline } from './plan-pipeline.ts';
import { runStep } from './run-step.ts';
import { Schedule } from './schedule.ts';
import { summarize } from './summarize.ts';

export interface PipelineRunnerOptions extends RunPipelineOptions {
  clock: Clock;
  /** Where neither the options nor the pipeline say one. */
  defaultConcurrency: number;
}

/**
 * Runs a graph of steps. A step that fails is in the result, not thrown. When it settles no step runs, nothing is held, and of what the
 * steps made there is what is cached.
 *
 * @throws AlcoveError `PipelineInvalid`, `ParentNotCached`, `InvalidInput` before anything runs; and what `onEvent` throws
 */
export async function runPipeline(
  runner: ActionRunner,
  pipeline: Pipeline,
  options: PipelineRunnerOptions,
): Promise<PipelineResult> {
  const checked = checkPipeline(pipeline);
  const steps = planPipeline(checked, options);
  const concurrency = options.concurrency ?? checked.concurrency ?? options.defaultConcurrency;
  if (!Number.isSafeInteger(concurrency) || concurrency < 1) {
    throw new AlcoveError('InvalidInput', `concurrency must be a whole number from 1, not ${concurrency}`, {
      details: { field: 'concurrency' },
    });
  }
  return new PipelineRun(runner, checked, steps, { ...options, concurrency }).toItsEnd();
}

class PipelineRun {
  readonly #runner: ActionRunner;
  readonly #clock: Clock;
  readonly #signal: AbortSignal | undefined;
  readonly #name: string | undefined;
  readonly #stopsOnFailure: boolean;
  readonly #steps: readonly PlannedStep[];
  readonly #schedule: Schedule;
  readonly #snapshots: MadeSnapshots;
  readonly #events: EventWriter;
  readonly #outcomes = new Map<string, StepOutcome>();
  readonly #stop = new AbortController();
  #blame: string | undefined;
  readonly #over = Promise.withResolvers<void>();
  readonly #onAbort = () => this.#cancel();

  constructor(
    runner: ActionRunner,
    pipeline: Pipeline,
    steps: readonly PlannedStep[],
    options: PipelineRunnerOptions & { concurrency: number },
  ) {
    this.#runner = runner;
    this.#clock = options.clock;
    this.#signal = options.signal;
    this.#name = pipeline.name;
    this.#stopsOnFailure = (options.onFailure ?? pipeline.onFailure ?? 'stop') === 'stop';
    this.#steps = steps;
    this.#schedule = new Schedule(steps, options.concurrency);
    this.#snapshots = new MadeSnapshots(steps);
    this.#events = new EventWriter(options.onEvent, options.clock, () => this.#endAll(runWasCancelled));
  }

  async toItsEnd(): Promise<PipelineResult> {
    const startedMs = this.#clock.monotonic();
    this.#events.post({
      event: 'pipeline-started',
      ...(this.#name !== undefined && { name: this.#name }),
      steps: this.#steps.map(({ name, step: { from, after = [] } }) => ({ step: name, from, after })),
    });
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (this.#signal?.aborted) this.#cancel();
    else this.#goOn();
    await this.#over.promise;
    await this.#snapshots.removeUnstored(this.#runner, (message) =>
      this.#events.post({ event: 'warning', message }),
    );
    const outcomes = this.#steps.flatMap(({ name }) => this.#outcomes.get(name) ?? []);
    const result = summarize(outcomes, this.#clock.monotonic() - startedMs);
    this.#events.post({ event: 'pipeline-ended', result });
    await this.#events.drained();
    this.#signal?.removeEventListener('abort', this.#onAbort);
    if (this.#events.failure) throw this.#events.failure.error;
    return result;
  }

  /** Begins what may begin. */
  #goOn(): void {
    for (const step of this.#schedule.begin()) this.#run(step).catch(this.#over.reject);
    if (this.#schedule.over) this.#over.resolve();
  }

  async #run(planned: PlannedStep): Promise<void> {
    const { name, parent } = planned;
    this.#events.post({ event: 'step-started', step: name });
    const source = parent === undefined ? undefined : this.#snapshots.of(parent);
    const { outcome, held } = await runStep(planned, source, {
      runner: this.#runner,
      clock: this.#clock,
      events: this.#events,
      signal: this.#stop.signal,
      blame: () => this.#blame,
    });
    if (held) this.#snapshots.add(name, held);
    const passed = outcome.status === 'passed' || outcome.status === 'cached';
    this.#schedule.end(name, passed ? 'passed' : 'not passed');
    this.#ended(planned, outcome);
    if (!passed) this.#afterFailure(outcome);
    this.#goOn();
  }

  #afterFailure({ step, status }: StepOutcome): void {
    if (status === 'cancelled') return; // All that waited was skipped when its signal fired.
    if (this.#stopsOnFailure) this.#endAll(step);
    else this.#skip(this.#schedule.skipDependents(step), step);
  }

  #cancel(): void {
    this.#events.letReaderLeave();
    this.#endAll(runWasCancelled);
  }

  /** Ends the running steps, and lets no other begin. The first reason counts. */
  #endAll(blame: string): void {
    if (this.#blame !== undefined) return;
    this.#blame = blame;
    this.#skip(this.#schedule.skipAll(), blame);
    this.#stop.abort();
    this.#goOn();
  }

  #skip(steps: readonly PlannedStep[], because: string): void {
    for (const planned of steps) {
      this.#ended(planned, { step: planned.name, status: 'skipped', durationMs: 0, because });
    }
  }

  #ended({ name, parent }: PlannedStep, outcome: StepOutcome): void {
    this.#outcomes.set(name, outcome);
    if (parent !== undefined) this.#snapshots.childEnded(parent);
    this.#events.post({ event: 'step-ended', outcome });
  }
}
