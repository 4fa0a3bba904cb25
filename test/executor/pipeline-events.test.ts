import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../src/backends/memory/index.ts';
import { type PipelineEvent, runPipeline } from '../../src/executor/index.ts';
import { graph, settled, start, statuses } from './pipeline-fixture.ts';
import { ScriptedRunner } from './scripted-runner.ts';

/** A reader that takes an event when the test says so. */
class SlowReader {
  readonly taken: PipelineEvent[] = [];
  atOnce = 0;
  mostAtOnce = 0;
  #waiting: (() => void)[] = [];
  #free = false;

  readonly read = async (event: PipelineEvent): Promise<void> => {
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.atOnce);
    this.taken.push(event);
    if (!this.#free) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.atOnce--;
  };

  async take(count = 1): Promise<void> {
    for (let left = count; left > 0; left--) {
      this.#waiting.shift()?.();
      await settled();
    }
  }

  /** Takes all from now on. */
  takeAll(): void {
    this.#free = true;
    for (const take of this.#waiting.splice(0)) take();
  }
}

function brief(event: PipelineEvent): string {
  switch (event.event) {
    case 'output':
      return `${event.step}: ${event.line}`;
    case 'step-progress':
      return `${event.step} is ${event.doing}`;
    case 'step-ended':
      return `${event.outcome.step} ${event.outcome.status}`;
    case 'step-started':
      return `${event.step} started`;
    case 'warning':
      return `warning: ${event.message}`;
    case 'pipeline-started':
    case 'pipeline-ended':
      return event.event;
  }
}

test('everything is told, in order, with numbers from 1 and the time', async () => {
  const { runner, clock, events, result } = start({
    name: 'ci',
    steps: { ...graph({ build: '', test: 'build' }), ...graph({ lint: '+ build' }) },
  });
  const build = await runner.call('build');
  build.options.onProgress?.('starting the machine');
  await build.print('one');
  await clock.advance(250);
  await build.print('two', 'stderr', true);
  build.options.onWarning?.('the look-up failed');
  build.hit(7);
  (await runner.call('test')).pass();
  (await runner.call('lint')).exit(2);
  const ended = await result;
  const epochMs = Date.UTC(2030, 0, 1);
  const about = { durationMs: 0 };
  expect(events).toEqual(
    [
      {
        event: 'pipeline-started',
        name: 'ci',
        steps: [
          { step: 'build', from: { image: 'builtin' }, after: [] },
          { step: 'test', from: { step: 'build' }, after: [] },
          { step: 'lint', from: { image: 'builtin' }, after: ['build'] },
        ],
      },
      { event: 'step-started', step: 'build' },
      { event: 'step-progress', step: 'build', doing: 'starting the machine' },
      { event: 'output', step: 'build', stream: 'stdout', line: 'one', replayed: false },
      { event: 'output', step: 'build', stream: 'stderr', line: 'two', replayed: true },
      { event: 'warning', step: 'build', message: 'the look-up failed' },
      { event: 'step-ended', outcome: ended.steps[0] },
      { event: 'step-started', step: 'test' },
      { event: 'step-started', step: 'lint' },
      { event: 'step-ended', outcome: { ...ended.steps[1], ...about } },
      { event: 'step-ended', outcome: { ...ended.steps[2], ...about } },
      { event: 'pipeline-ended', result: ended },
    ].map((event, at) => ({ seq: at + 1, timeMs: epochMs + (at < 4 ? 0 : 250), ...event })),
  );
});

describe('a slow reader', () => {
  test('is told one thing at a time, makes commands wait, and misses nothing', async () => {
    const reader = new SlowReader();
    const { runner, result } = start({ steps: graph({ a: '', b: '' }) }, { onEvent: reader.read });
    await settled();
    const progress: string[] = [];
    for (const call of runner.calls.values()) {
      void (async () => {
        for (let line = 0; line < 50; line++) {
          await call.print(`${line}`);
          progress.push(`${call.name}: ${line}`);
        }
        call.pass();
      })();
    }
    // What it has not taken is one line of each command: neither goes on.
    await reader.take(5);
    expect(reader.taken.map(brief)).toEqual([
      'pipeline-started',
      'a started',
      'b started',
      'a: 0',
      'b: 0',
      'a: 1',
    ]);
    expect(progress).toEqual(['a: 0', 'b: 0']);
    reader.takeAll();
    await result;
    expect(reader.mostAtOnce).toBe(1);
    expect(reader.taken.map(brief).filter((each) => /^a: /.test(each))).toHaveLength(50);
    expect(reader.taken.map(({ seq }) => seq)).toEqual(reader.taken.map((_, at) => at + 1));
    expect(brief(reader.taken.at(-1) as PipelineEvent)).toBe('pipeline-ended');
  });

  test('does not keep steps from beginning and ending', async () => {
    const reader = new SlowReader();
    const { runner, result } = start({ steps: graph({ a: '', b: 'a', c: 'b' }) }, { onEvent: reader.read });
    for (const step of ['a', 'b', 'c']) (await runner.call(step)).pass();
    await settled();
    expect(reader.taken.map(brief)).toEqual(['pipeline-started']);
    expect(runner.running.size).toBe(0);
    reader.takeAll();
    expect(statuses(await result)).toEqual({ a: 'passed', b: 'passed', c: 'passed' });
  });

  test('hears of the latest that a step is doing, not of all between', async () => {
    const reader = new SlowReader();
    const { runner, result } = start({ steps: graph({ a: '', b: '' }) }, { onEvent: reader.read });
    await settled();
    const [a, b] = [await runner.call('a'), await runner.call('b')];
    for (let percent = 0; percent < 100; percent++) {
      a.options.onProgress?.(`copying ${percent} %`);
      b.options.onProgress?.(`copying ${percent} %`);
    }
    const printed = a.print('done');
    a.options.onProgress?.('running');
    reader.takeAll();
    await printed;
    a.pass();
    b.pass();
    await result;
    expect(reader.taken.map(brief).slice(3, 7)).toEqual([
      'a is copying 99 %',
      'b is copying 99 %',
      'a: done',
      'a is running',
    ]);
  });
});

describe('a reader that throws', () => {
  test.each<[how: string, fail: () => void | Promise<void>]>([
    [
      'at once',
      () => {
        throw new Error('disk full');
      },
    ],
    [
      'later',
      async () => {
        await settled();
        throw new Error('disk full');
      },
    ],
  ])(
    '%s ends the run: it is told no more, all is cancelled and cleaned up, and what it threw is thrown',
    async (_, fail) => {
      const seen: string[] = [];
      const { runner, result } = start(
        {
          steps: {
            ...graph({ a: '' }, { cache: 'none' }),
            ...graph({ b: 'a', c: 'b' }, { cache: 'none' }),
            ...graph({ d: '' }),
          },
        },
        {
          onEvent: (event) => {
            seen.push(brief(event));
            if (event.event === 'output') return fail();
          },
        },
      );
      (await runner.call('a')).pass();
      const b = await runner.call('b');
      (await runner.call('d')).cancelWhenAborted();
      const thrown = b.print('x').catch((error) => error);
      expect(await thrown).toMatchObject({ message: 'disk full' });
      b.fail(await thrown);
      await expect(result).rejects.toThrow('disk full');
      expect(seen.at(-1)).toBe('b: x');
      expect(runner.running.size).toBe(0);
      expect(runner.removed).toEqual(['made/a']);
      expect(runner.holds).toBe(0);
      expect(runner.begun).toEqual(['a', 'd', 'b']);
    },
  );

  test.each(['pipeline-started', 'step-ended', 'pipeline-ended'])('at %s', async (at) => {
    const { runner, result } = start(
      { steps: graph({ a: '', b: 'a' }) },
      {
        onEvent: ({ event }) => {
          if (event === at) throw new Error('disk full');
        },
      },
    );
    void runner
      .call('a')
      .then((call) => (at === 'pipeline-started' ? call.cancelWhenAborted() : call.pass()));
    void runner.call('b').then((call) => (at === 'pipeline-ended' ? call.pass() : call.cancelWhenAborted()));
    await expect(result).rejects.toThrow('disk full');
    expect([runner.running.size, runner.holds]).toEqual([0, 0]);
  });
});

describe('after a cancellation', () => {
  test('a reader that takes nothing any more is given up after 2 s, and the run ends', async () => {
    const reader = new SlowReader();
    const { runner, clock, abort, result } = start(
      { steps: graph({ a: '', b: 'a' }) },
      { onEvent: reader.read },
    );
    const call = await runner.call('a');
    const printed = call.print('x');
    abort.abort();
    let ended = false;
    void result.then(() => {
      ended = true;
    });
    await clock.advance(1_999);
    expect(ended).toBe(false);
    await clock.advance(1);
    await printed; // Even a command that waits for its reader comes to its end.
    call.cancel();
    expect((await result).exitCode).toBe(130);
    expect(reader.taken).toHaveLength(1);
  });

  test('a reader that hangs when the run is over is given up, too, and the result is what it was', async () => {
    const reader = new SlowReader();
    const { runner, clock, abort, result } = start({ steps: graph({ a: '' }) }, { onEvent: reader.read });
    (await runner.call('a')).pass();
    await clock.advance(10_000);
    abort.abort();
    await clock.advance(2_000);
    expect(await result).toMatchObject({ status: 'passed', exitCode: 0 });
    expect(clock.waiting).toBe(0);
  });

  test('a reader that is slow and alive is told everything', async () => {
    const reader = new SlowReader();
    const { runner, clock, abort, result } = start(
      { steps: graph({ a: '', b: 'a' }) },
      { onEvent: reader.read },
    );
    const call = (await runner.call('a')).cancelWhenAborted();
    const printed = call.print('x');
    abort.abort();
    for (let event = 0; event < 6; event++) {
      await clock.advance(1_999);
      await reader.take();
    }
    await Promise.all([printed, result]);
    expect(reader.taken.map(brief)).toEqual([
      'pipeline-started',
      'a started',
      'a: x',
      'b skipped',
      'a cancelled',
      'pipeline-ended',
    ]);
    expect(clock.waiting).toBe(0);
  });

  test('that the reader itself has made while it is told something, all is in order', async () => {
    const abort = new AbortController();
    const seen: string[] = [];
    const { runner, result } = start(
      { steps: graph({ a: '', b: '', c: '' }) },
      {
        signal: abort.signal,
        onEvent: (event) => {
          seen.push(brief(event));
          if (event.event === 'step-started') abort.abort();
        },
      },
    );
    for (const step of ['a', 'b']) void runner.call(step).then((call) => call.cancelWhenAborted());
    expect((await result).exitCode).toBe(130);
    expect(seen).toEqual([
      'pipeline-started',
      'a started',
      'b started',
      'c skipped',
      'a cancelled',
      'b cancelled',
      'pipeline-ended',
    ]);
  });
});

test('output that a step’s command leaves behind when it has ended is not told; a warning is', async () => {
  const { runner, events, result } = start({ steps: graph({ a: '', b: 'a' }) });
  const a = await runner.call('a');
  a.pass();
  const b = await runner.call('b');
  await a.print('late');
  a.options.onProgress?.('late');
  a.options.onWarning?.('the VM could not be destroyed');
  b.pass();
  await result;
  expect(events.map(brief)).toEqual([
    'pipeline-started',
    'a started',
    'a passed',
    'b started',
    'warning: the VM could not be destroyed',
    'b passed',
    'pipeline-ended',
  ]);
});

test('a run that nobody watches is as one that is watched', async () => {
  const runner = new ScriptedRunner();
  const result = runPipeline(
    runner,
    { steps: graph({ a: '', b: 'a' }) },
    { clock: new ManualClock(), defaultConcurrency: 1 },
  );
  const a = await runner.call('a');
  await a.print('x');
  a.exit(1);
  expect((await result).steps[0]).toMatchObject({ status: 'failed', lastOutput: ['x'] });
});
