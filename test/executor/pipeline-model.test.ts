import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AlcoveError } from '../../src/errors.ts';
import type { Pipeline, PipelineEvent, PipelineResult, Step } from '../../src/executor/index.ts';
import { settled, start, statuses } from './pipeline-fixture.ts';
import { type ModelEnd, type ModelStep, PipelineModel } from './pipeline-model.ts';
import type { ScriptedCall } from './scripted-runner.ts';

const maxSteps = 8;
/** After a cancellation, a reader that takes nothing for so long is told no more. */
const goneAfterMs = 2_000;

/** Steps in an order in which each may need those before it, declared in another. */
const steps: fc.Arbitrary<ModelStep[]> = fc
  .array(
    fc.record({
      parent: fc.option(fc.nat(maxSteps), { freq: 3 }),
      after: fc.array(fc.nat(maxSteps), { maxLength: 2 }),
      cached: fc.boolean(),
      plan: fc.oneof(
        { weight: 6, arbitrary: fc.constantFrom('pass' as const, 'hit' as const) },
        {
          weight: 2,
          arbitrary: fc.constantFrom('exit' as const, 'time out' as const, 'throw' as const, 'hang' as const),
        },
      ),
      whenCancelled: fc.constantFrom(
        'obey' as const,
        'obey' as const,
        'as planned' as const,
        'throw' as const,
      ),
      lines: fc.nat(3),
      place: fc.nat(),
    }),
    { minLength: 1, maxLength: maxSteps },
  )
  .map((drawn) => {
    const made: (ModelStep & { place: number })[] = [];
    for (const [at, { parent, after, cached, ...rest }] of drawn.entries()) {
      const mother = parent === null || at === 0 ? undefined : made[parent % at];
      made.push({
        ...rest,
        name: `s${at}`,
        ...(mother && { parent: mother.name }),
        after: at === 0 ? [] : after.map((index) => `s${index % at}`),
        cached: cached && (mother?.cached ?? true),
      });
    }
    return made.sort((a, b) => a.place - b.place);
  });

const scenario = fc.record({
  steps,
  limit: fc.integer({ min: 1, max: 4 }),
  onFailure: fc.constantFrom('stop' as const, 'keep-going' as const),
  /** Which of the running steps ends next, each time. */
  choices: fc.array(fc.nat(), { minLength: maxSteps, maxLength: maxSteps }),
  /** Between two ends. */
  cancelAtTurn: fc.option(fc.nat(maxSteps), { freq: 3, nil: undefined }),
  /** What the reader does when it is told so many things. */
  reader: fc.oneof(
    { weight: 4, arbitrary: fc.constant({ does: 'read' as const, at: 0 }) },
    {
      weight: 4,
      arbitrary: fc.record({
        does: fc.constantFrom('cancel' as const, 'throw' as const, 'hang' as const),
        at: fc.integer({ min: 1, max: 40 }),
      }),
    },
  ),
});
type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never;

function pipelineOf({ steps, limit, onFailure }: Scenario): Pipeline {
  return {
    concurrency: limit,
    onFailure,
    steps: Object.fromEntries(
      steps.map(({ name, parent, after, cached }): [string, Step] => [
        name,
        {
          from: parent === undefined ? { image: 'builtin' } : { step: parent },
          command: 'true',
          after,
          cache: cached ? 'forever' : 'none',
        },
      ]),
    ),
  };
}

/** A reader of events that does something when it is told so many. */
class Reader {
  readonly told: PipelineEvent[] = [];
  atOnce = 0;
  mostAtOnce = 0;
  hangs = false;
  readonly thrown = new Error('the reader has failed');
  readonly #does: Scenario['reader'];
  readonly #abort: AbortController;

  constructor(does: Scenario['reader'], abort: AbortController) {
    this.#does = does;
    this.#abort = abort;
  }

  get hasThrown(): boolean {
    return this.#does.does === 'throw' && this.told.length >= this.#does.at;
  }

  readonly read = (event: PipelineEvent): void | Promise<void> => {
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.atOnce);
    this.told.push(event);
    const { does, at } = this.#does;
    if (does === 'hang' && this.told.length >= at) {
      this.hangs = true;
      return new Promise(() => undefined);
    }
    this.atOnce--;
    if (this.hasThrown) throw this.thrown;
    if (does === 'cancel' && this.told.length === at) this.#abort.abort();
    return this.told.length % 3 === 0 ? Promise.resolve() : undefined;
  };
}

/** Prints and ends as a command does; resolves when it has, or when it waits for a reader that hangs. */
async function play(
  call: ScriptedCall,
  step: ModelStep,
  end: ModelEnd,
  reader: Reader,
): Promise<{ ended: boolean }> {
  const state = { ended: false };
  void (async () => {
    try {
      for (let line = 0; line < step.lines; line++) {
        await call.print(`line ${line}`, line % 2 ? 'stderr' : 'stdout');
      }
    } catch (error) {
      state.ended = true;
      call.fail(error);
      return;
    }
    state.ended = true;
    if (end === 'pass' || (end === 'hit' && !step.cached)) call.pass();
    else if (end === 'hit') call.hit(1);
    else if (end === 'exit') call.exit(1);
    else if (end === 'time out') call.timeOut();
    else if (end === 'obey') call.cancel();
    else call.fail(step.lines % 2 ? new Error('broken') : new AlcoveError('VmFailed', 'broken'));
  })();
  while (!state.ended && !reader.hangs) await Promise.resolve();
  return state;
}

async function run(drawn: Scenario): Promise<void> {
  const abort = new AbortController();
  const reader = new Reader(drawn.reader, abort);
  const { runner, clock, result } = start(pipelineOf(drawn), { onEvent: reader.read, signal: abort.signal });
  const model = new PipelineModel(drawn.steps, drawn.limit, drawn.onFailure);
  const byName = new Map(drawn.steps.map((step) => [step.name, step]));
  const wasCancelled = () => abort.signal.aborted || reader.hasThrown;
  const agree = async () => {
    await settled();
    if (wasCancelled()) model.cancel();
    expect(runner.begun).toEqual(model.begun);
    expect([...runner.running].sort()).toEqual([...model.running].sort());
  };
  const cancel = async () => {
    abort.abort();
    model.cancel();
    if (reader.hangs) await clock.advance(goneAfterMs);
  };
  await agree();
  for (let turn = 0; model.running.length > 0; turn++) {
    if (turn === drawn.cancelAtTurn) await cancel();
    const running = drawn.steps.filter(({ name }) => model.running.includes(name));
    const able = running.filter((step) => model.endOf(step) !== undefined);
    const step = able[(drawn.choices[turn] ?? 0) % able.length];
    const end = step && model.endOf(step);
    const call = step && runner.calls.get(step.name);
    if (!end || !call) {
      await cancel(); // All that run hang.
      continue;
    }
    const { ended } = await play(call, step, end, reader);
    if (!ended) await cancel();
    else if (wasCancelled()) model.cancel(); // By the reader, on what the step has printed.
    model.end(step.name, end);
    await agree();
  }
  if (reader.hangs) await cancel();

  const { told: events } = reader;
  expect(reader.mostAtOnce).toBeLessThanOrEqual(1);
  if (reader.hasThrown) {
    await expect(result).rejects.toBe(reader.thrown);
  } else {
    const ended = await result;
    expect(statuses(ended)).toEqual(Object.fromEntries(model.states));
    expect(ended.exitCode).toBe(model.exitCode);
    expectOutcomes(ended, byName);
    if (!reader.hangs) expectAllTold(events, ended, byName);
  }
  expectInOrder(events, byName);
  expect(runner.complaints).toEqual([]);
  expect(runner.mostAtOnce).toBeLessThanOrEqual(drawn.limit);
  expect(runner.running.size).toBe(0);
  expect(runner.holds).toBe(0);
  expect([...runner.snapshots.values()].filter(({ stored }) => !stored)).toEqual([]);
  expect(clock.waiting).toBe(0);
}

function expectOutcomes({ steps, savedMs }: PipelineResult, byName: ReadonlyMap<string, ModelStep>): void {
  expect(savedMs).toBe(steps.filter(({ status }) => status === 'cached').length);
  for (const { step, status, error, lastOutput, because, snapshot } of steps) {
    const good = status === 'passed' || status === 'cached';
    expect([step, error !== undefined]).toEqual([step, !good && status !== 'skipped']);
    expect([step, because !== undefined]).toEqual([step, status === 'skipped' || status === 'cancelled']);
    expect([step, lastOutput !== undefined]).toEqual([step, status === 'failed' || status === 'timed out']);
    expect([step, snapshot !== undefined]).toEqual([step, good && byName.get(step)?.cached]);
  }
}

/** What holds of any beginning of the events. */
function expectInOrder(events: readonly PipelineEvent[], byName: ReadonlyMap<string, ModelStep>): void {
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, at) => at + 1));
  expect(events[0]?.event).toBe('pipeline-started');
  const started = new Set<string>();
  const ended = new Map<string, string>();
  const lines = new Map<string, number>();
  for (const [at, event] of events.entries()) {
    if (event.event === 'step-started') {
      const step = byName.get(event.step);
      const needs = [step?.parent ?? [], step?.after ?? []].flat();
      expect(needs.filter((need) => !['passed', 'cached'].includes(ended.get(need) ?? ''))).toEqual([]);
      expect([started.has(event.step), ended.has(event.step)]).toEqual([false, false]);
      started.add(event.step);
    } else if (event.event === 'output') {
      expect([started.has(event.step), ended.has(event.step)]).toEqual([true, false]);
      expect(event.line).toBe(`line ${lines.get(event.step) ?? 0}`);
      lines.set(event.step, (lines.get(event.step) ?? 0) + 1);
    } else if (event.event === 'step-ended') {
      const { step, status } = event.outcome;
      expect(ended.has(step)).toBe(false);
      expect(started.has(step)).toBe(status !== 'skipped');
      ended.set(step, status);
    } else if (event.event === 'pipeline-ended') {
      expect(at).toBe(events.length - 1);
      expect(ended.size).toBe(byName.size);
    } else {
      expect([event.event, at]).toEqual(['pipeline-started', 0]);
    }
  }
}

/** What a reader that took everything was told. */
function expectAllTold(
  events: readonly PipelineEvent[],
  result: PipelineResult,
  byName: ReadonlyMap<string, ModelStep>,
): void {
  expect(events.at(-1)).toMatchObject({ event: 'pipeline-ended', result });
  const outcomes = events.flatMap((event) => (event.event === 'step-ended' ? event.outcome : []));
  const byStep = (a: { step: string }, b: { step: string }) => a.step.localeCompare(b.step);
  expect(outcomes.sort(byStep)).toEqual([...result.steps].sort(byStep));
  for (const { step, status } of result.steps) {
    const printed = events.filter((event) => event.event === 'output' && event.step === step).length;
    expect([step, printed]).toEqual([step, status === 'skipped' ? 0 : byName.get(step)?.lines]);
  }
}

test('whatever the graph, the limit, the ends, the cancellation and the reader: a pipeline is as the model says', async () => {
  await fc.assert(fc.asyncProperty(scenario, run), { numRuns: 3_000 });
});
