import { describe, expect, test } from 'vitest';
import { AlcoveError } from '../../errors.ts';
import { checkPipeline } from './check-pipeline.ts';

const image = { from: { image: 'builtin' }, command: 'true' };
const waitsFor = (...steps: string[]) => ({ ...image, after: steps });
const from = (step: string) => ({ from: { step }, command: 'true' });

function refused(value: unknown): unknown {
  try {
    checkPipeline(value);
  } catch (error) {
    if (!(error instanceof AlcoveError)) throw error;
    const { code, message, remedy, details } = error;
    return { code, message, remedy, details };
  }
  return 'taken';
}

const steps = (value: Record<string, unknown>, more = {}) => ({ steps: value, ...more });
const step = (fields: Record<string, unknown>) => steps({ build: { ...image, ...fields } });
const correct = 'Correct the named step.';

describe('a pipeline is refused, and the step and the field are named:', () => {
  test.each<[what: string, value: unknown, message: string, remedy?: string]>([
    ['nothing', undefined, 'the pipeline must be an object with steps'],
    ['no steps', {}, 'the pipeline has steps, which must be an object of steps by name'],
    ['an empty pipeline', steps({}), 'the pipeline has steps, which must have a step'],
    [
      'no step at once',
      steps({ a: image }, { concurrency: 0 }),
      'the pipeline has concurrency, which must be at least 1',
    ],
    [
      'a part of a step at once',
      steps({ a: image }, { concurrency: 1.5 }),
      'the pipeline has concurrency, which must be a whole number',
    ],
    ['an unknown field', { step: {} }, 'the pipeline has no field step', 'Did you mean "steps"?'],
    [
      'an unknown way to fail',
      steps({ a: image }, { onFailure: 'go' }),
      'the pipeline has onFailure, which must be "stop" or "keep-going"',
    ],
    [
      'a name with a blank',
      steps({ 'a b': image }),
      'step "a b" must be called by 1 to 63 letters, digits, ".", "_" and "-", beginning with a letter or digit',
    ],
    [
      'a name that is too long',
      steps({ ['a'.repeat(64)]: image }),
      `step ${'a'.repeat(64)} must be called by 1 to 63 letters, digits, ".", "_" and "-", beginning with a letter or digit`,
    ],
    ['a step that is none', steps({ a: 3 }), 'step a must be an object with from and command'],
    [
      'no command',
      steps({ a: { from: { image: 'x' } } }),
      'step a has command, which must be text, or a list of a program and its arguments',
    ],
    ['a command of nothing', step({ command: [] }), 'step build has command, which must name a program'],
    [
      'no source',
      steps({ a: { command: 'x' } }),
      'step a has from, which must be { image }, { snapshot } or { step }',
    ],
    [
      'two sources',
      step({ from: { image: 'x', step: 'y' } }),
      'step build has from, which must have exactly one of image, snapshot and step',
    ],
    [
      'a misspelt source',
      step({ from: { imge: 'x' } }),
      'step build has no field from.imge',
      'Did you mean "image"?',
    ],
    [
      'a bad snapshot',
      step({ from: { snapshot: 'x' } }),
      'step build has from.snapshot, which must be <vm id>/<snapshot id>',
    ],
    [
      'a misspelt field',
      step({ workDir: '/' }),
      'step build has no field workDir',
      'Did you mean "workdir"?',
    ],
    [
      'a field from elsewhere',
      step({ image: 'x' }),
      'step build has no field image',
      expect.stringContaining('There are from, command, '),
    ],
    [
      'a number in the environment',
      step({ env: { PORT: 80 } }),
      'step build has env.PORT, which must be text',
    ],
    [
      'a bad variable',
      step({ secrets: { 'A=B': 'c' } }),
      'step build has secrets.A=B, which must have no "=" in its name',
    ],
    [
      'a relative workdir',
      step({ workdir: 'src' }),
      'step build has workdir, which must be absolute in the guest',
    ],
    ['no time', step({ timeoutMs: 0 }), 'step build has timeoutMs, which must be more than 0'],
    [
      'memory that is not kept',
      step({ memory: false }),
      'step build has memory, which must be true, or left out',
    ],
    [
      'a relative place to inject',
      step({
        inject: [
          { from: 'a', to: '/a' },
          { from: 'b', to: 'b' },
        ],
      }),
      'step build has inject[1].to, which must be absolute in the guest',
    ],
    [
      'a misspelt injection',
      step({ inject: { form: 'a', to: '/a' } }),
      'step build has no field inject.form',
      'Did you mean "from"?',
    ],
    [
      'too little memory',
      step({ limits: { memoryMiB: 1 } }),
      'step build has limits.memoryMiB, which must be at least 64',
    ],
    [
      'an unknown policy',
      step({ cache: 'always' }),
      'step build has cache, which must be "none", "forever", { ttlMs }, { onChange }, { compose } or { key }',
    ],
    [
      'a misspelt policy',
      step({ cache: { ttl: 1 } }),
      'step build has no field cache.ttl',
      'Did you mean "ttlMs"?',
    ],
    [
      'two policies at once',
      step({ cache: { ttlMs: 1, key: 'k' } }),
      'step build has cache, which must be "none", "forever", { ttlMs }, { onChange }, { compose } or { key }',
    ],
    [
      'an age without a key',
      step({ cache: { ttlMs: 1, maxAgeMs: 1 } }),
      'step build has cache, which has a maxAgeMs without a key',
    ],
    [
      'a bad policy among several',
      step({ cache: { compose: ['forever', { onChange: [] }] } }),
      'step build has cache.compose[1].onChange, which must name a path',
    ],
    [
      'a key for a whole pipeline',
      steps({ a: image }, { cache: { key: 'k' } }),
      'the pipeline has no field cache.key',
      expect.stringContaining('There are ttlMs'),
    ],
    [
      'an unknown parent',
      steps({ build: image, test: from('biuld') }),
      'step test starts from "biuld", which is no step',
      'Did you mean "build"?',
    ],
    [
      'an unknown step to wait for',
      steps({ build: image, test: waitsFor('lint') }),
      'step test waits for "lint", which is no step',
      'There are build, test.',
    ],
    [
      'a parent from the prototype',
      steps({ test: from('toString') }),
      'step test starts from "toString", which is no step',
      'There are test.',
    ],
    [
      'a step that waits for itself',
      steps({ a: waitsFor('a') }),
      'step a waits for itself',
      'Name another step.',
    ],
    [
      'a step that starts from itself',
      steps({ a: from('a') }),
      'step a starts from itself',
      'Name another step.',
    ],
    [
      'a cycle',
      steps({ c: waitsFor('a'), a: waitsFor('b'), b: from('a') }),
      'step a waits for itself: a → b → a',
      'Let one of these steps not wait for the next.',
    ],
    [
      'limits on a child',
      steps({ a: image, b: { ...from('a'), limits: { cpus: 1 } } }),
      'step b has limits and does not start from an image',
      expect.stringContaining('Give the limits to'),
    ],
  ])('%s', (_, value, message, remedy = correct) => {
    const named = /^step ([\w.-]+|".*?") /.exec(message)?.[1];
    expect(refused(value)).toEqual({
      code: 'PipelineInvalid',
      message,
      remedy,
      details: named === undefined ? {} : { step: named },
    });
  });
});

describe('a cached step on one that is not cached is refused, and both are named:', () => {
  test.each<[what: string, value: unknown]>([
    ['by its own policy', steps({ b: { ...from('a'), cache: 'forever' }, a: image }, { cache: 'none' })],
    ['by the default', steps({ a: { ...image, cache: 'none' }, b: from('a') })],
    [
      'by a key',
      steps({
        a: { ...image, cache: { compose: ['forever', 'none'] } },
        b: { ...from('a'), cache: { key: 'k' } },
      }),
    ],
  ])('%s', (_, value) => {
    expect(refused(value)).toEqual({
      code: 'ParentNotCached',
      message: 'step b is cached, and step a, which it starts from, is not',
      remedy: 'Cache the step that it starts from, too, or do not cache it.',
      details: { step: 'b', parent: 'a' },
    });
  });

  test('one that only waits for it is taken', () => {
    expect(refused(steps({ a: { ...image, cache: 'none' }, b: waitsFor('a') }))).toBe('taken');
  });
});

test('a pipeline with everything in it comes out as it went in', () => {
  const pipeline = {
    name: 'all',
    concurrency: 2,
    onFailure: 'keep-going',
    cache: { compose: [{ ttlMs: 1_000 }, { compose: [{ onChange: ['a', '*.c'], base: 'src' }] }] },
    base: '/home/me/project',
    steps: {
      constructor: {
        from: { image: 'debian:12' },
        command: ['make', '-j', '2', ''],
        after: ['10.a_b-C'],
        cache: { key: 'mine', maxAgeMs: 60_000 },
        env: { A: '', __proto__x: 'b' },
        secrets: { TOKEN: 'x' },
        workdir: '/src',
        user: 'me',
        timeoutMs: 0.5,
        inject: { from: '.', to: '/src', ignore: 'nothing', mirror: true, owner: { uid: 0, gid: 1 } },
        limits: { cpus: 1, memoryMiB: 64, diskMiB: 16, network: 'user' },
        memory: true,
        maxOutputBytes: 0,
      },
      '10.a_b-C': { from: { snapshot: 'vm-1/base' }, command: 'true', inject: [] },
    },
  };
  expect(checkPipeline(pipeline)).toEqual(pipeline);
});

test('a field that is undefined is one that is left out', () => {
  const checked = checkPipeline({
    name: undefined,
    steps: { a: { ...image, env: undefined, after: undefined } },
  });
  expect(checked).toStrictEqual({ steps: { a: image } });
});

test('what is changed after the check changes nothing', () => {
  const given = { steps: { a: { ...image, env: { A: '1' } } } };
  const checked = checkPipeline(given);
  given.steps.a.env.A = '2';
  expect(checked.steps.a?.env).toEqual({ A: '1' });
});

test('a chain of 3,000 steps is taken, in either order of declaration, and so is its cycle found', () => {
  const names = Array.from({ length: 3_000 }, (_, at) => `s${at}`);
  const chain = names.map((name, at): [string, unknown] => [name, at === 0 ? image : from(`s${at - 1}`)]);
  expect(refused(steps(Object.fromEntries(chain)))).toBe('taken');
  expect(refused(steps(Object.fromEntries(chain.reverse())))).toBe('taken');
  expect(refused(steps({ ...Object.fromEntries(chain), s0: from('s2999') }))).toMatchObject({
    message: expect.stringMatching(/^step s2999 waits for itself: s2999 → s2998 → .* → s0 → s2999$/),
  });
});
