import { describe, expect, test } from 'vitest';
import { AlcoveError } from '../../src/errors.ts';
import { checkPipeline, type KeyPolicy, type Pipeline, type Step } from '../../src/executor/index.ts';
import { graph, settled, start, statuses } from './pipeline-fixture.ts';

describe('the order in which steps begin', () => {
  test('is that of declaration, as many at once as the limit says', async () => {
    const { runner, result } = start({ concurrency: 2, steps: graph({ a: '', b: '', c: '', d: '' }) });
    await settled();
    expect([...runner.running]).toEqual(['a', 'b']);
    runner.calls.get('b')?.pass();
    await settled();
    expect([...runner.running]).toEqual(['a', 'c']);
    runner.calls.get('a')?.pass();
    runner.calls.get('c')?.pass();
    (await runner.call('d')).pass();
    expect((await result).status).toBe('passed');
    expect(runner.begun).toEqual(['a', 'b', 'c', 'd']);
  });

  test('a step that is ready goes before one declared later, and not before what it needs', async () => {
    const { runner, result } = start({
      concurrency: 1,
      steps: graph({ report: 'test + lint', test: 'build', lint: '', build: '' }),
    });
    for (const step of ['lint', 'build', 'test', 'report']) (await runner.call(step)).pass();
    await result;
    expect(runner.begun).toEqual(['lint', 'build', 'test', 'report']);
  });

  test.each([
    { options: 3, pipeline: 2, most: 3 },
    { options: undefined, pipeline: 1, most: 1 },
    { options: undefined, pipeline: undefined, most: 2 },
  ])('a limit of $options goes over the pipeline’s $pipeline', async ({ options, pipeline, most }) => {
    const { runner, abort, result } = start(
      { ...(pipeline && { concurrency: pipeline }), steps: graph({ a: '', b: '', c: '', d: '' }) },
      { ...(options && { concurrency: options }) },
    );
    await settled();
    expect(runner.running.size).toBe(most);
    for (const call of runner.calls.values()) call.cancelWhenAborted();
    abort.abort();
    await result;
  });
});

describe('what is executed', () => {
  const base = '/home/me/project';

  test('is the step, from its parent’s snapshot, with host paths from the pipeline’s base', async () => {
    const inject = [
      { from: 'src', to: '/src' },
      { from: '/etc/ssl', to: '/etc/ssl' },
    ];
    const { runner, result } = start({
      name: 'ci',
      base,
      steps: {
        build: {
          from: { image: 'debian' },
          command: ['make'],
          limits: { cpus: 2 },
          inject: { from: '.', to: '/' },
        },
        test: {
          from: { step: 'build' },
          command: 'make test',
          env: { A: '1' },
          secrets: { T: 's' },
          inject,
          memory: true,
        },
      },
    });
    (await runner.call('build')).pass({ snapshot: 'made/it' });
    runner.snapshots.set('made/it', { stored: true, holds: 1 });
    (await runner.call('test')).pass();
    await result;
    expect([...runner.calls.values()].map(({ action }) => action)).toEqual([
      {
        name: 'ci/build',
        source: { image: 'debian' },
        command: ['make'],
        limits: { cpus: 2 },
        inject: [{ from: base, to: '/' }],
      },
      {
        name: 'ci/test',
        source: { snapshot: 'made/it' },
        command: 'make test',
        env: { A: '1' },
        secrets: { T: 's' },
        inject: [
          { from: `${base}/src`, to: '/src' },
          { from: '/etc/ssl', to: '/etc/ssl' },
        ],
        memory: true,
      },
    ]);
  });

  test.each<
    [step: Step['cache'], pipeline: KeyPolicy | undefined, mode: 'refresh' | undefined, policy: unknown]
  >([
    [undefined, undefined, undefined, { auto: 'forever' }],
    [undefined, { ttlMs: 5 }, 'refresh', { auto: { ttlMs: 5 }, mode: 'refresh' }],
    ['forever', 'none', undefined, { auto: 'forever' }],
    ['none', undefined, 'refresh', 'none'],
    [{ compose: ['forever', { compose: ['none'] }] }, undefined, undefined, 'none'],
    [{ key: 'mine' }, 'none', undefined, { cache: 'mine' }],
    [{ key: 'mine', maxAgeMs: 9 }, undefined, 'refresh', { cache: 'mine', maxAgeMs: 9, mode: 'refresh' }],
    [{ onChange: ['*.c'] }, undefined, undefined, { auto: { onChange: ['*.c'], base } }],
    [
      { compose: [{ onChange: ['a'], base: 'sub' }, { onChange: ['b'], base: '/abs' }, { ttlMs: 1 }] },
      undefined,
      undefined,
      {
        auto: {
          compose: [
            { onChange: ['a'], base: `${base}/sub` },
            { onChange: ['b'], base: '/abs' },
            { ttlMs: 1 },
          ],
        },
      },
    ],
  ])('a step’s %j over the pipeline’s %j, with mode %s', async (step, pipeline, mode, policy) => {
    const { runner, result } = start(
      { base, steps: graph({ a: '' }, step ? { cache: step } : {}), ...(pipeline && { cache: pipeline }) },
      { ...(mode && { mode }) },
    );
    const call = await runner.call('a');
    call.pass();
    await result;
    expect(call.policy).toEqual(policy);
  });

  test('nothing is looked up below a step whose result was not stored', async () => {
    const { runner, result } = start({ steps: graph({ a: '', b: 'a', c: 'b' }) }, { mode: 'readOnly' });
    (await runner.call('a')).hit();
    const b = await runner.call('b');
    b.pass();
    const c = await runner.call('c');
    c.pass();
    expect(b.policy).toEqual({ auto: 'forever', mode: 'readOnly' });
    expect(c.policy).toBe('none');
    expect(statuses(await result)).toEqual({ a: 'cached', b: 'passed', c: 'passed' });
    expect(runner.removed).toEqual(['made/c', 'made/b']);
  });

  test('only the steps that are asked for, and those that they need', async () => {
    const { runner, result, events } = start(
      { steps: graph({ a: '', b: 'a', c: 'b + d', d: '', e: 'c' }) },
      { only: ['c'] },
    );
    for (const step of ['a', 'd', 'b', 'c']) (await runner.call(step)).pass();
    expect(Object.keys(statuses(await result))).toEqual(['a', 'b', 'c', 'd']);
    expect(events[0]).toMatchObject({ steps: [{ step: 'a' }, { step: 'b' }, { step: 'c' }, { step: 'd' }] });
  });
});

describe('nothing runs and nothing is told', () => {
  test.each<[what: string, pipeline: unknown, options: object, error: object]>([
    ['of a pipeline that is none', { steps: {} }, {}, { code: 'PipelineInvalid' }],
    [
      'for steps that there are not',
      { steps: graph({ a: '' }) },
      { only: ['A'] },
      { code: 'InvalidInput', details: { field: 'only' }, remedy: 'Did you mean "a"?' },
    ],
    [
      'for no steps',
      { steps: graph({ a: '' }) },
      { only: [] },
      { code: 'InvalidInput', details: { field: 'only' } },
    ],
    [
      'none at once',
      { steps: graph({ a: '' }) },
      { concurrency: 0 },
      { code: 'InvalidInput', details: { field: 'concurrency' } },
    ],
    [
      'of an uncached parent',
      { steps: { ...graph({ a: '' }, { cache: 'none' }), ...graph({ b: 'a' }) } },
      {},
      { code: 'ParentNotCached', details: { step: 'b', parent: 'a' } },
    ],
  ])('%s', async (_, pipeline, options, error) => {
    const { runner, events, result } = start(pipeline as Pipeline, options);
    await expect(result).rejects.toMatchObject(error);
    expect([runner.begun, events]).toEqual([[], []]);
  });
});

const diamond = { first: '', left: 'first', right: 'first', last: 'left + right', other: '' };

describe('one failure shows as one failure:', () => {
  test.each<
    [
      how: string,
      fail: (call: import('./scripted-runner.ts').ScriptedCall) => void,
      outcome: object,
      exitCode: number,
    ]
  >([
    [
      'an exit code',
      (call) => call.exit(3),
      {
        status: 'failed',
        exitCode: 3,
        error: {
          code: 'CommandFailed',
          message: 'the command ended with exit code 3',
          remedy: 'Read its output.',
        },
      },
      1,
    ],
    [
      'a signal',
      (call) => call.exit(137, 'SIGKILL'),
      { status: 'failed', exitCode: 137, error: { message: 'the command ended by SIGKILL' } },
      1,
    ],
    [
      'an error',
      (call) => call.fail(new AlcoveError('HostFile', 'no such folder', { remedy: 'Make it.' })),
      { status: 'failed', error: { code: 'HostFile', message: 'no such folder', remedy: 'Make it.' } },
      1,
    ],
    [
      'a defect',
      (call) => call.fail(new TypeError('x is not a function')),
      { status: 'failed', error: { code: 'Internal', message: 'x is not a function' } },
      1,
    ],
    [
      'a cancellation that nobody asked for',
      (call) => call.cancel(),
      { status: 'failed', error: { code: 'Cancelled' } },
      1,
    ],
    [
      'a timeout',
      (call) => call.timeOut(),
      {
        status: 'timed out',
        error: { code: 'CommandTimedOut', remedy: 'Give the step more time: raise its timeoutMs.' },
      },
      124,
    ],
  ])('%s', async (_, fail, outcome, exitCode) => {
    const { runner, clock, result } = start({ steps: graph(diamond), onFailure: 'keep-going' });
    (await runner.call('first')).pass();
    (await runner.call('other')).pass();
    const left = await runner.call('left');
    await clock.advance(70);
    await left.print('compiling');
    await left.print('no such file', 'stderr');
    fail(left);
    (await runner.call('right')).pass();
    const ended = await result;
    expect(statuses(ended)).toEqual({
      first: 'passed',
      left: (outcome as { status: string }).status,
      right: 'passed',
      last: 'skipped: left',
      other: 'passed',
    });
    expect(ended).toMatchObject({ exitCode, status: (outcome as { status: string }).status });
    expect(ended.steps[1]).toMatchObject({
      ...outcome,
      durationMs: 70,
      lastOutput: ['compiling', 'no such file'],
    });
  });

  test('with “stop”, what runs is cancelled and what waits is skipped, by the name of the one to blame', async () => {
    const { runner, result } = start({ steps: graph(diamond), concurrency: 3 });
    (await runner.call('first')).pass();
    (await runner.call('right')).cancelWhenAborted();
    (await runner.call('other')).cancelWhenAborted();
    (await runner.call('left')).timeOut();
    const ended = await result;
    expect(statuses(ended)).toEqual({
      first: 'passed',
      left: 'timed out',
      right: 'cancelled: left',
      last: 'skipped: left',
      other: 'cancelled: left',
    });
    expect(ended).toMatchObject({ status: 'timed out', exitCode: 124 });
    expect(ended.steps[2]?.error).toMatchObject({
      code: 'Cancelled',
      message: 'it was cancelled because step left has not passed',
    });
  });

  test('with “keep-going”, what is skipped far below names the root', async () => {
    const { runner, result } = start(
      { steps: graph({ d: 'c', c: 'b', b: 'a', a: '', z: '', y: 'z + d' }) },
      { onFailure: 'keep-going' },
    );
    (await runner.call('a')).exit(1);
    (await runner.call('z')).hit();
    expect(statuses(await result)).toEqual({
      d: 'skipped: a',
      c: 'skipped: a',
      b: 'skipped: a',
      a: 'failed',
      z: 'cached',
      y: 'skipped: a',
    });
  });

  test('a step that ends by itself while it is being cancelled is what it has become', async () => {
    const { runner, result } = start({ steps: graph({ a: '', b: '', c: '', d: '', e: '' }), concurrency: 5 });
    (await runner.call('a')).exit(1);
    await settled();
    runner.calls.get('b')?.pass();
    runner.calls.get('c')?.exit(2);
    runner.calls.get('d')?.timeOut();
    runner.calls.get('e')?.fail(new AlcoveError('GuestUnreachable', 'it is gone'));
    const ended = await result;
    expect(statuses(ended)).toEqual({
      a: 'failed',
      b: 'passed',
      c: 'failed',
      d: 'timed out',
      e: 'cancelled: a',
    });
    expect(ended.steps[4]?.error).toMatchObject({ code: 'GuestUnreachable', message: 'it is gone' });
  });
});

describe('the run is cancelled', () => {
  test('while steps run: those are cancelled, the others skipped', async () => {
    const { runner, abort, result } = start({ steps: graph(diamond), onFailure: 'keep-going' });
    (await runner.call('first')).pass();
    (await runner.call('left')).cancelWhenAborted();
    (await runner.call('other')).cancelWhenAborted();
    abort.abort();
    const ended = await result;
    const why = 'the run was cancelled';
    expect(statuses(ended)).toEqual({
      first: 'passed',
      left: `cancelled: ${why}`,
      right: `skipped: ${why}`,
      last: `skipped: ${why}`,
      other: `cancelled: ${why}`,
    });
    expect(ended).toMatchObject({ status: 'cancelled', exitCode: 130 });
  });

  test('before it begins: nothing runs, and everything is told', async () => {
    const { runner, events, result } = start(
      { steps: graph({ a: '', b: 'a' }) },
      { signal: AbortSignal.abort() },
    );
    expect(await result).toMatchObject({ status: 'cancelled', exitCode: 130 });
    expect(runner.begun).toEqual([]);
    expect(events.map(({ event }) => event)).toEqual([
      'pipeline-started',
      'step-ended',
      'step-ended',
      'pipeline-ended',
    ]);
  });

  test('when all have passed: it has passed', async () => {
    const { runner, abort, result } = start({ steps: graph({ a: '' }) });
    (await runner.call('a')).pass();
    await settled();
    abort.abort();
    expect(await result).toMatchObject({ status: 'passed', exitCode: 0 });
  });

  test('after a failure: it has failed', async () => {
    const { runner, abort, result } = start({ steps: graph({ a: '', b: '' }), onFailure: 'keep-going' });
    (await runner.call('a')).exit(1);
    (await runner.call('b')).cancelWhenAborted();
    await settled();
    abort.abort();
    expect(await result).toMatchObject({ status: 'failed', exitCode: 1 });
  });
});

describe('snapshots', () => {
  test('are held until every step that starts from them has ended, and no longer', async () => {
    const { runner, result } = start({
      steps: graph({ a: '', b: 'a', c: 'a', d: '+ a', e: '' }),
      concurrency: 3,
    });
    const holds = () => Object.fromEntries([...runner.snapshots].map(([ref, kept]) => [ref, kept.holds]));
    (await runner.call('a')).pass();
    (await runner.call('e')).pass();
    await runner.call('c');
    expect(holds()).toEqual({ 'made/a': 1, 'made/e': 0 });
    runner.calls.get('b')?.pass();
    await settled();
    expect(holds()).toMatchObject({ 'made/a': 1, 'made/b': 0 });
    runner.calls.get('c')?.exit(1);
    await settled();
    expect(holds()).toMatchObject({ 'made/a': 0 });
    runner.calls.get('d')?.pass();
    await result;
  });

  test.each<[end: string, last: 'pass' | 'exit' | 'cancel']>([
    ['passed', 'pass'],
    ['failed', 'exit'],
    ['was cancelled', 'cancel'],
  ])('of steps that are not cached are gone when the pipeline %s, the last made first', async (_, last) => {
    const steps = {
      ...graph({ a: '', leaf: '' }, { cache: 'none' }),
      ...graph({ b: 'a', c: 'b' }, { cache: 'none' }),
      ...graph({ kept: '' }),
    };
    const { runner, abort, result } = start({ steps, concurrency: 1 });
    for (const step of ['a', 'leaf', 'b']) (await runner.call(step)).pass();
    const c = await runner.call('c');
    if (last === 'cancel') {
      c.cancelWhenAborted();
      abort.abort();
    } else if (last === 'exit') {
      c.exit(1);
    } else {
      c.pass();
      (await runner.call('kept')).pass();
    }
    const ended = await result;
    expect(runner.removed).toEqual([...(last === 'pass' ? ['made/c'] : []), 'made/b', 'made/leaf', 'made/a']);
    expect([...runner.snapshots.keys()]).toEqual(last === 'pass' ? ['made/kept'] : []);
    expect(ended.steps.flatMap(({ snapshot }) => snapshot ?? [])).toEqual(
      last === 'pass' ? ['made/kept'] : [],
    );
    expect(runner.complaints).toEqual([]);
  });

  test('one that cannot be removed is a warning; one that is gone already is none', async () => {
    const { runner, events, result } = start({
      steps: graph({ a: '', b: '', c: '' }, { cache: 'none' }),
      concurrency: 3,
    });
    runner.failRemoval('made/a', new AlcoveError('SnapshotInUse', 'VM x needs it'));
    runner.failRemoval('made/b', new AlcoveError('SnapshotNotFound', 'gone'));
    for (const step of ['a', 'b', 'c']) (await runner.call(step)).pass();
    expect((await result).status).toBe('passed');
    expect(runner.removed).toEqual(['made/c']);
    expect(events.filter(({ event }) => event === 'warning')).toMatchObject([
      { message: 'the snapshot made/a could not be removed: VM x needs it' },
    ]);
  });
});

test('saved time is the sum of what the cached steps have saved', async () => {
  const { runner, clock, result } = start({ steps: graph({ a: '', b: '', c: '' }), concurrency: 3 });
  (await runner.call('a')).hit(1_000);
  (await runner.call('b')).hit(20);
  await clock.advance(5);
  const phases = { machine: 1, inject: 2, run: 3, command: 2, snapshot: 4 };
  (await runner.call('c')).pass({ phases });
  expect(await result).toEqual({
    status: 'passed',
    exitCode: 0,
    durationMs: 5,
    savedMs: 1_020,
    steps: [
      {
        step: 'a',
        status: 'cached',
        exitCode: 0,
        durationMs: 0,
        savedMs: 1_000,
        key: 'key of a',
        snapshot: 'made/a',
      },
      {
        step: 'b',
        status: 'cached',
        exitCode: 0,
        durationMs: 0,
        savedMs: 20,
        key: 'key of b',
        snapshot: 'made/b',
      },
      {
        step: 'c',
        status: 'passed',
        exitCode: 0,
        durationMs: 5,
        key: 'key of c',
        snapshot: 'made/c',
        phases,
      },
    ],
  });
});

test('of a failed step the last 20 lines of both streams are kept, in the order in which they came, long ones cut', async () => {
  const { runner, result } = start({ steps: graph({ a: '' }) });
  const call = await runner.call('a');
  for (let line = 1; line <= 30; line++) await call.print(`line ${line}`, line % 2 ? 'stdout' : 'stderr');
  await call.print(`${'x'.repeat(999)}😀${'y'.repeat(100_000)}`);
  call.exit(1);
  const { lastOutput } = (await result).steps[0] ?? {};
  expect(lastOutput).toHaveLength(20);
  expect(lastOutput?.[0]).toBe('line 12');
  expect(lastOutput?.[18]).toBe('line 30');
  expect(lastOutput?.[19]).toBe(`${'x'.repeat(999)}… 100002 characters left out …`);
});

test('what a user’s file exports can be run as it is checked', async () => {
  const { runner, result } = start(
    checkPipeline(JSON.parse('{"steps":{"a":{"from":{"image":"x"},"command":"true"}}}')),
  );
  (await runner.call('a')).pass();
  expect((await result).status).toBe('passed');
});
