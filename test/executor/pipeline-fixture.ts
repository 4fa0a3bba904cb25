import { ManualClock } from '../../src/backends/memory/index.ts';
import {
  type Pipeline,
  type PipelineEvent,
  type PipelineResult,
  type RunPipelineOptions,
  runPipeline,
  type Step,
} from '../../src/executor/index.ts';
import { ScriptedRunner } from './scripted-runner.ts';

/** Steps in few words: `{ build: '', test: 'build', report: 'test + lint' }`; the parent, then what is only waited for. */
export function graph(steps: Readonly<Record<string, string>>, more: Partial<Step> = {}): Pipeline['steps'] {
  return Object.fromEntries(
    Object.entries(steps).map(([name, needs]): [string, Step] => {
      const [parent = '', after] = needs.split('+').map((part) => part.trim());
      const from = parent === '' ? { image: 'builtin' } : { step: parent };
      return [name, { from, command: 'true', ...(after && { after: after.split(' ') }), ...more }];
    }),
  );
}

export interface Started {
  runner: ScriptedRunner;
  clock: ManualClock;
  events: PipelineEvent[];
  abort: AbortController;
  result: Promise<PipelineResult>;
}

/** A pipeline under way on a {@link ScriptedRunner}. */
export function start(
  pipeline: Pipeline,
  options: RunPipelineOptions = {},
  runner = new ScriptedRunner(),
): Started {
  const clock = new ManualClock();
  const events: PipelineEvent[] = [];
  const abort = new AbortController();
  const result = runPipeline(runner, pipeline, {
    signal: abort.signal,
    clock,
    defaultConcurrency: 2,
    onEvent: (event) => void events.push(event),
    ...options,
  });
  result.catch(() => undefined); // The test looks at it when it is done with the rest.
  return { runner, clock, events, abort, result };
}

/** What became of each step: `passed`, or `skipped: build` where another is to blame. */
export function statuses({ steps }: PipelineResult): Record<string, string> {
  return Object.fromEntries(
    steps.map(({ step, status, because }) => [
      step,
      because === undefined ? status : `${status}: ${because}`,
    ]),
  );
}

/** Everything that is ready has run. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
