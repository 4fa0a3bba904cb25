import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  explainPipeline,
  type Pipeline,
  type PipelineEvent,
  type PipelineResult,
  type RunPipelineOptions,
  runPipeline,
} from '../../src/executor/index.ts';
import { type ExecutorFixture, openExecutorFixture } from './executor-fixture.ts';
import { statuses } from './pipeline-fixture.ts';

let fixture: ExecutorFixture;
let events: PipelineEvent[];

beforeEach(async () => {
  fixture = await openExecutorFixture();
  events = [];
});
afterEach(async () => {
  // Whatever the test was about: no machine is left, and no snapshot but those that are cached.
  const { executor, vm, warnings } = fixture;
  await executor.settled();
  expect(await vm.runtime.list({ destroyed: 'leave-out' })).toEqual([]);
  const cached = (await executor.cache.list()).map(({ snapshot }) => snapshot).sort();
  expect((await vm.runtime.snapshots.list()).map(({ ref }) => ref).sort()).toEqual(cached);
  expect(warnings).toEqual([]);
  expect(events.filter(({ event }) => event === 'warning')).toEqual([]);
  await fixture[Symbol.asyncDispose]();
});

function run(pipeline: Pipeline, options: RunPipelineOptions = {}): Promise<PipelineResult> {
  events = [];
  return runPipeline(fixture.executor, pipeline, {
    clock: fixture.vm.clock,
    defaultConcurrency: 2,
    onEvent: (event) => void events.push(event),
    ...options,
  });
}

const image = { image: 'builtin' };
const verdicts = async (pipeline: Pipeline) =>
  Object.fromEntries(
    (await explainPipeline(fixture.executor, pipeline)).map(({ step, explanation }) => [
      step,
      explanation.verdict === 'miss' ? explanation.why.reason : explanation.verdict,
    ]),
  );

/** Each step says and writes what it is called, and shows what those before it wrote. */
const chain: Pipeline = {
  steps: {
    build: { from: image, command: 'write /out built' },
    test: { from: { step: 'build' }, command: 'cat /out' },
    pack: { from: { step: 'build' }, command: 'write /pack done', after: ['test'] },
  },
};

test('each step starts from what its parent has made, and the next time nothing is run', async () => {
  expect(statuses(await run(chain))).toEqual({ build: 'passed', test: 'passed', pack: 'passed' });
  const calls = fixture.vm.backend.log.length;
  const again = await run(chain);
  expect(statuses(again)).toEqual({ build: 'cached', test: 'cached', pack: 'cached' });
  await fixture.executor.settled();
  expect(fixture.vm.backend.log.slice(calls).filter(({ call }) => call !== 'destroy')).toEqual([]);
  const said = events.flatMap((event) => (event.event === 'output' ? [event] : []));
  expect(said).toMatchObject([{ step: 'test', line: 'built', replayed: true }]);
});

test('with a step changed, it and what starts from it are run again; explaining had said so', async () => {
  await run(chain);
  const changed: Pipeline = {
    steps: {
      ...chain.steps,
      extra: { from: image, command: 'true' },
      build: { from: image, command: 'write /out anew' },
    },
  };
  expect(await verdicts(chain)).toEqual({ build: 'hit', test: 'hit', pack: 'hit' });
  expect(await verdicts(changed)).toEqual({ build: 'new', test: 'new', pack: 'new', extra: 'new' });
  const [build] = await explainPipeline(fixture.executor, changed);
  expect(build?.explanation).toMatchObject({
    nearest: {
      name: 'build',
      changes: [
        { input: 'command', change: 'changed', before: '"write /out built"', after: '"write /out anew"' },
      ],
    },
  });
  expect(statuses(await run(changed))).toEqual({
    build: 'passed',
    test: 'passed',
    pack: 'passed',
    extra: 'passed',
  });
});

test('what explaining predicts of steps that were never run is what running them comes to', async () => {
  const explained = await explainPipeline(fixture.executor, chain);
  const { steps } = await run(chain);
  const keys = explained.map(({ explanation }) => 'key' in explanation && explanation.key);
  expect(steps.map(({ key }) => key)).toEqual(keys);
});

test('host paths are those of the pipeline’s base', async () => {
  const base = join(fixture.vm.root, 'project');
  mkdirSync(join(base, 'src'), { recursive: true });
  writeFileSync(join(base, 'src', 'main.c'), 'int main;');
  writeFileSync(join(base, 'lock'), '1');
  const pipeline: Pipeline = {
    base,
    cache: { onChange: ['lock'] },
    steps: { build: { from: image, command: 'cat /src/main.c', inject: { from: 'src', to: '/src' } } },
  };
  expect(await run(pipeline)).toMatchObject({ status: 'passed' });
  expect(events).toContainEqual(expect.objectContaining({ event: 'output', line: 'int main;' }));
  expect(statuses(await run(pipeline))).toEqual({ build: 'cached' });
  writeFileSync(join(base, 'lock'), '2');
  expect(statuses(await run(pipeline))).toEqual({ build: 'passed' });
});

test('of steps that are not cached nothing is left, not even where one starts from the other', async () => {
  expect(statuses(await run({ ...chain, cache: 'none' }))).toEqual({
    build: 'passed',
    test: 'passed',
    pack: 'passed',
  });
  await fixture.executor.settled();
  expect(await fixture.vm.runtime.snapshots.list()).toEqual([]);
});

test('a pipeline that only reads the cache runs what is not there, and stores nothing', async () => {
  expect(statuses(await run(chain, { mode: 'readOnly' }))).toEqual({
    build: 'passed',
    test: 'passed',
    pack: 'passed',
  });
  expect(await fixture.executor.cache.list()).toEqual([]);
});

test('a pipeline that refreshes the cache runs all, and what was there goes', async () => {
  const first = await run(chain);
  const second = await run(chain, { mode: 'refresh' });
  expect(statuses(second)).toEqual({ build: 'passed', test: 'passed', pack: 'passed' });
  expect(second.steps.map(({ key }) => key)).toEqual(first.steps.map(({ key }) => key));
  expect(await fixture.executor.cache.list()).toHaveLength(3);
});

test('a step that fails says what it printed, and the others are not to blame', async () => {
  fixture.vm.backend.script('make', {
    stdout: 'cc main.c\n',
    stderr: ['main.c: no ', 'such file\n'],
    exitCode: 2,
  });
  fixture.vm.backend.script('wait', { hang: 'until-killed' });
  const result = await run({
    steps: {
      deps: { from: image, command: 'true' },
      other: { from: image, command: 'wait' },
      build: { from: { step: 'deps' }, command: 'make' },
      test: { from: { step: 'build' }, command: 'true' },
    },
  });
  expect(statuses(result)).toEqual({
    deps: 'passed',
    other: 'cancelled: build',
    build: 'failed',
    test: 'skipped: build',
  });
  expect(result).toMatchObject({ status: 'failed', exitCode: 1 });
  expect(result.steps[2]).toMatchObject({
    exitCode: 2,
    lastOutput: expect.arrayContaining(['cc main.c', 'main.c: no such file']),
  });
});

test('a step that takes too long has timed out, and says what it printed before', async () => {
  fixture.vm.backend.script('slow', async (ran) => {
    await ran.print('half\n');
    await ran.sleep(60_000);
    return 0;
  });
  const result = run({ steps: { slow: { from: image, command: 'slow', timeoutMs: 1_000 } } });
  await printed('half');
  await fixture.vm.clock.advance(1_000);
  expect(await result).toMatchObject({
    status: 'timed out',
    exitCode: 124,
    steps: [{ status: 'timed out', error: { code: 'CommandTimedOut' }, lastOutput: ['half'] }],
  });
});

test('a run that is cancelled leaves no command and no machine', async () => {
  fixture.vm.backend.script('wait', async (ran) => {
    await ran.print('waiting\n');
    await ran.sleep(1_000_000);
    return 0;
  });
  const abort = new AbortController();
  const result = run(
    {
      cache: 'none',
      steps: { first: { from: image, command: 'true' }, wait: { from: { step: 'first' }, command: 'wait' } },
    },
    { signal: abort.signal },
  );
  await printed('waiting');
  abort.abort();
  expect(await result).toMatchObject({ status: 'cancelled', exitCode: 130 });
});

test('a reader that fails ends the commands', async () => {
  fixture.vm.backend.script('wait', async (ran) => {
    await ran.print('waiting\n');
    await ran.sleep(1_000_000);
    return 0;
  });
  const onEvent = ({ event }: PipelineEvent) => {
    if (event === 'output') throw new Error('the disk is full');
  };
  const steps = { a: { from: image, command: 'wait' }, b: { from: image, command: 'wait' } };
  await expect(run({ steps }, { onEvent })).rejects.toThrow('the disk is full');
});

test('two steps that are the same are run once', async () => {
  const result = await run({
    steps: { a: { from: image, command: 'write /out x' }, b: { from: image, command: 'write /out x' } },
  });
  expect(result.steps.map(({ key }) => key)).toEqual(Array(2).fill(result.steps[0]?.key));
  await fixture.executor.settled();
  expect(fixture.vm.backend.log.filter(({ call }) => call === 'exec')).toHaveLength(1);
});

test('200 steps in 20 branches run, and are all found again', async () => {
  const steps: Pipeline['steps'] = Object.fromEntries(
    Array.from({ length: 200 }, (_, at) => [
      `s${at}`,
      { from: at < 20 ? image : { step: `s${at - 20}` }, command: `write /out ${at}` },
    ]),
  );
  await using roomy = await openExecutorFixture({
    limits: { maxEntries: 1_000, maxBytes: 2 ** 40, reservedBytes: 0 },
  });
  const options = { clock: roomy.vm.clock, defaultConcurrency: 4 };
  expect((await runPipeline(roomy.executor, { steps }, options)).status).toBe('passed');
  const again = await runPipeline(roomy.executor, { steps }, options);
  expect(new Set(again.steps.map(({ status }) => status))).toEqual(new Set(['cached']));
});

async function printed(line: string): Promise<void> {
  while (!events.some((event) => event.event === 'output' && event.line === line)) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}
