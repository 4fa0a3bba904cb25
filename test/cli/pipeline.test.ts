import { basename, dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AlcoveError } from '../../src/errors.ts';
import type { InputChange, PipelineEvent, PipelineResult, StepOutcome } from '../../src/executor/index.ts';
import { cacheEntry, type PipelineScript, pipelineResult } from './support/fake-executor.ts';
import { pipelineFile } from './support/pipeline-file.ts';
import { testCli } from './support/run-cli.ts';

const failed: StepOutcome = {
  step: 'compile',
  status: 'failed',
  exitCode: 2,
  durationMs: 300,
  error: { code: 'CommandFailed', message: 'the command exited with 2', remedy: 'Read its output.' },
  lastOutput: ['cc main.c', 'main.c:1: oh no'],
};
const outcomes: StepOutcome[] = [
  { step: 'deps', status: 'cached', durationMs: 1, savedMs: 3000 },
  failed,
  { step: 'test', status: 'skipped', durationMs: 0, because: 'compile' },
  { step: 'lint', status: 'cancelled', durationMs: 700 },
  { step: 'slow', status: 'timed out', durationMs: 10_000 },
];
const failure: PipelineResult = pipelineResult(outcomes, { status: 'failed', exitCode: 1, savedMs: 3000 });

/** Plays a run of which one step fails; `between` comes between its output and its end. */
function failing(between: (emit: Parameters<PipelineScript>[0]['emit']) => Promise<void>): PipelineScript {
  return async ({ emit }) => {
    const steps = outcomes.map(({ step }) => ({ step, from: { image: 'builtin' }, after: [] }));
    await emit({ event: 'pipeline-started', name: 'build', steps });
    await emit({ event: 'output', step: 'deps', stream: 'stdout', line: 'got them', replayed: true });
    for (const line of failed.lastOutput ?? [])
      await emit({ event: 'output', step: 'compile', stream: 'stderr', line, replayed: false });
    await between(emit);
    for (const outcome of outcomes) await emit({ event: 'step-ended', outcome });
    await emit({ event: 'pipeline-ended', result: failure });
    return failure;
  };
}

const ends = [
  'deps cached, saved 3.0 s',
  'compile failed in 0.3 s: exit code 2',
  'test skipped because of compile',
  'lint cancelled after 0.7 s',
  'slow timed out after 10.0 s',
];
const total = 'failed in 5.0 s: 1 cached, 1 failed, 1 timed out, 1 cancelled, 1 skipped; saved 3.0 s';

describe('alcove pipeline run', () => {
  test('writes plain lines, and why a step failed; what stands right above is not said again', async () => {
    const { run, io, alcove } = testCli();
    alcove.executor.pipeline = failing(async () => undefined);
    expect(await run('pipeline', 'run', pipelineFile())).toBe(1);
    expect(io.stdout.text).toBe(
      [
        'deps    | got them',
        'compile | cc main.c',
        'compile | main.c:1: oh no',
        ...ends,
        '',
        'compile: the command exited with 2',
        '  Read its output.',
        '',
        'slow: timed out',
        '',
        total,
        '',
      ].join('\n'),
    );
    expect(alcove.closed).toBe(1);
  });

  test('repeats the last output of a failed step where others spoke after it', async () => {
    const { run, io, alcove } = testCli();
    alcove.executor.pipeline = failing((emit) =>
      emit({ event: 'output', step: 'lint', stream: 'stdout', line: 'linting', replayed: false }),
    );
    await run('pipeline', 'run', pipelineFile());
    expect(io.stdout.text).toContain(
      'compile: the command exited with 2\n  | cc main.c\n  | main.c:1: oh no\n  Read its output.\n',
    );
  });

  test('with -q says only what failed', async () => {
    const { run, io, alcove } = testCli();
    alcove.executor.pipeline = failing(async () => undefined);
    expect(await run('pipeline', 'run', '-q', pipelineFile())).toBe(1);
    expect(io.stdout.text).toBe(
      [
        'compile: the command exited with 2',
        '  | cc main.c',
        '  | main.c:1: oh no',
        '  Read its output.',
        '',
        'slow: timed out',
        '',
        total,
        '',
      ].join('\n'),
    );
    const passing = testCli();
    expect(await passing.run('pipeline', 'run', '-q', pipelineFile())).toBe(0);
    expect(passing.io.stdout.text + passing.io.stderr.text).toBe('');
  });

  test('with --json writes every event, however slowly they are read, and waits for the reader', async () => {
    const { run, io, alcove } = testCli();
    let emitted = 0;
    alcove.executor.pipeline = async ({ emit }) => {
      for (; emitted < 500; emitted++)
        await emit({
          event: 'output',
          step: 'a',
          stream: 'stdout',
          line: `line ${emitted}`,
          replayed: false,
        });
      await emit({ event: 'pipeline-ended', result: pipelineResult([]) });
      return pipelineResult([]);
    };
    io.stdout.hold();
    const done = run('pipeline', 'run', '--json', pipelineFile());
    const turn = () => new Promise(setImmediate);
    while (emitted < 5) await turn();
    for (let i = 0; i < 20; i++) await turn();
    expect(emitted).toBeLessThan(30);
    expect(io.stdout.writableLength).toBeLessThan(4096);
    for (let i = 0; i < 50; i++) {
      io.stdout.takeOne();
      await turn();
    }
    expect(emitted).toBeGreaterThan(30);
    expect(emitted).toBeLessThan(200);
    io.stdout.release();
    expect(await done).toBe(0);
    const events = io.stdout.text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as PipelineEvent);
    expect(events.map(({ seq }) => seq)).toEqual(Array.from({ length: 501 }, (_, i) => i + 1));
    expect(events.at(-1)).toMatchObject({ event: 'pipeline-ended', result: { status: 'passed' } });
    expect(io.stderr.text).toBe('');
  });

  test.each<[PipelineResult['status'], PipelineResult['exitCode']]>([
    ['passed', 0],
    ['failed', 1],
    ['timed out', 124],
    ['cancelled', 130],
  ])('one that %s exits with %i', async (status, exitCode) => {
    const { run, alcove } = testCli();
    alcove.executor.pipeline = async () => pipelineResult([], { status, exitCode });
    expect(await run('pipeline', 'run', pipelineFile())).toBe(exitCode);
  });

  test.each([
    ['SIGINT', 130, []],
    ['SIGTERM', 143, []],
    ['SIGINT', 130, ['--json']],
  ] as const)('%s cancels it, exits with %i and says how far it came (%j)', async (signal, code, flags) => {
    const { run, io, alcove } = testCli();
    const outcome: StepOutcome = {
      step: 'b',
      status: 'skipped',
      durationMs: 0,
      because: 'the run was cancelled',
    };
    const cancelled = pipelineResult([{ step: 'a', status: 'cancelled', durationMs: 100 }, outcome], {
      status: 'cancelled',
      exitCode: 130,
    });
    let aborted: boolean | undefined;
    alcove.executor.pipeline = async ({ options, emit }) => {
      await emit({ event: 'step-started', step: 'a' });
      io.signal(signal);
      aborted = options.signal?.aborted;
      await emit({ event: 'step-ended', outcome });
      await emit({ event: 'pipeline-ended', result: cancelled });
      return cancelled;
    };
    expect(await run('pipeline', 'run', ...flags, pipelineFile())).toBe(code);
    expect(aborted).toBe(true);
    expect(io.stdout.text).toContain(
      flags.length > 0
        ? '"pipeline-ended"'
        : 'b skipped because the run was cancelled\ncancelled in 5.0 s: 1 cancelled, 1 skipped\n',
    );
    expect(alcove.closed).toBe(1);
  });

  test('a reader that goes away ends it without a word', async () => {
    const { run, io, alcove } = testCli();
    io.stdout.break('EPIPE');
    alcove.executor.pipeline = async ({ options, emit }) => {
      while (!options.signal?.aborted)
        await emit({ event: 'output', step: 'a', stream: 'stdout', line: 'y', replayed: false });
      return pipelineResult([], { status: 'cancelled', exitCode: 130 });
    };
    expect(await run('pipeline', 'run', pipelineFile())).toBe(141);
    expect(io.stderr.text).toBe('');
  });

  test('every flag reaches the run; the base is the folder of the file, and its name the pipeline’s', async () => {
    const { run, alcove } = testCli();
    const file = pipelineFile('export default async () => ({ steps: { a: 1 }, base: "sub" });');
    const flags = ['--keep-going', '--concurrency', '3', '--refresh', '--only', 'a', 'b'];
    expect(await run('pipeline', 'run', file, ...flags)).toBe(0);
    expect(alcove.calls).toEqual([
      [
        'pipelines.run',
        { name: basename(file, '.mjs'), steps: { a: 1 }, base: `${dirname(file)}/sub` },
        { only: ['a', 'b'], onFailure: 'keep-going', concurrency: 3, mode: 'refresh' },
      ],
    ]);
    await run('pipeline', 'run', pipelineFile(), '--read-only');
    expect(alcove.calls[1]?.[2]).toEqual({ mode: 'readOnly' });
  });

  test.each([
    [['--refresh', '--read-only'], '--refresh: it stores, and --read-only stores nothing'],
    [['--concurrency', '0'], '--concurrency: "0" is not a whole number from 1 to 1024'],
  ])('%j is refused', async (flags, says) => {
    const { run, io, alcove } = testCli();
    expect(await run('pipeline', 'run', pipelineFile(), ...flags)).toBe(2);
    expect(io.stderr.text).toContain(says);
    expect(alcove.opened).toEqual([]);
  });

  test('what the runner refuses is an error', async () => {
    const { run, io, alcove } = testCli();
    alcove.executor.pipeline = async () => {
      throw new AlcoveError('PipelineInvalid', 'step a starts from b, which is not there', {
        details: { step: 'a' },
      });
    };
    expect(await run('pipeline', 'run', pipelineFile())).toBe(2);
    expect(io.stderr.text).toBe(
      'alcove: step a starts from b, which is not there\n  Correct the named step.\n',
    );
  });

  test('a file that never ends loading is left with Ctrl-C', async () => {
    const { run, io, alcove } = testCli();
    const done = run('pipeline', 'run', pipelineFile('export default () => new Promise(() => {});'));
    await new Promise(setImmediate);
    io.signal('SIGINT');
    expect(await done).toBe(130);
    expect(alcove.opened).toEqual([]);
  });
});

describe('alcove pipeline explain', () => {
  const changes: InputChange[] = [
    { input: 'inject./src/main.c', change: 'changed' },
    { input: 'env.TOKEN', change: 'changed', secret: true },
  ];
  const entry = cacheEntry('3f2a', { hits: 1 });
  const explained = (cli: ReturnType<typeof testCli>) => {
    cli.alcove.executor.steps = [
      { step: 'deps', explanation: { verdict: 'hit', key: entry.key, entry } },
      {
        step: 'compile',
        explanation: {
          verdict: 'miss',
          key: 'k',
          why: { reason: 'new' },
          nearest: { key: entry.key, createdAtMs: 940_000, name: 'compile', changes },
        },
      },
      { step: 'deploy', explanation: { verdict: 'not cached' } },
    ];
    return cli;
  };

  test('says of each step whether it would run, and which inputs are to blame', async () => {
    const { run, io, alcove } = explained(testCli());
    expect(await run('pipeline', 'explain', pipelineFile(), '--only', 'deploy')).toBe(0);
    expect(io.stdout.text).toBe(
      [
        'deps     hit         made 10 minutes ago in 12.3 s, used once since',
        'compile  miss        2 inputs differ from compile (v1:3f2a00000000), made 1 minute ago',
        '    inject /src/main.c  content changed',
        '    env.TOKEN           changed (hidden)',
        'deploy   not cached  its policy is none',
        '',
        '2 of 3 would run',
        '',
      ].join('\n'),
    );
    expect(alcove.calls[0]?.[2]).toEqual({ only: ['deploy'] });
  });

  test('gives programs all of it, and with -q the names of steps that would run', async () => {
    const json = explained(testCli());
    await json.run('pipeline', 'explain', '--json', pipelineFile());
    expect(json.json()).toEqual(json.alcove.executor.steps);
    const quiet = explained(testCli());
    await quiet.run('pipeline', 'explain', '-q', pipelineFile());
    expect(quiet.io.stdout.text).toBe('compile\ndeploy\n');
  });
});
