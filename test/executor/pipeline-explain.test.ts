import { expect, test } from 'vitest';
import { AlcoveError } from '../../src/errors.ts';
import { explainPipeline } from '../../src/executor/index.ts';
import { graph } from './pipeline-fixture.ts';
import { ScriptedRunner } from './scripted-runner.ts';

test('each step is explained on what its parent would become, in the order of declaration', async () => {
  const explained = await explainPipeline(new ScriptedRunner(), {
    steps: graph({ test: 'build', lint: '+ test', build: '' }),
  });
  const image = '{"image":"builtin"}';
  expect(explained.map(({ step, explanation }) => [step, 'key' in explanation && explanation.key])).toEqual([
    ['test', `test(${JSON.stringify({ parent: `build(${image})` })})`],
    ['lint', `lint(${image})`],
    ['build', `build(${image})`],
  ]);
});

test('a step that is not cached, and all that starts from it, is said to be so', async () => {
  const steps = { ...graph({ a: '', b: 'a', c: 'b' }, { cache: 'none' }), ...graph({ d: '+ c' }) };
  const explained = await explainPipeline(new ScriptedRunner(), { steps });
  expect(explained.map(({ explanation }) => explanation.verdict)).toEqual([
    'not cached',
    'not cached',
    'not cached',
    'miss',
  ]);
});

test('only the steps that are asked for, and those that they need, are explained', async () => {
  const explained = await explainPipeline(
    new ScriptedRunner(),
    { steps: graph({ a: '', b: 'a', c: '' }) },
    { only: ['b'] },
  );
  expect(explained.map(({ step }) => step)).toEqual(['a', 'b']);
});

test('an error says at which step it happened', async () => {
  class Failing extends ScriptedRunner {
    override async explainStep(): Promise<never> {
      throw new AlcoveError('HostFile', 'no such folder: src', {
        remedy: 'Make it.',
        details: { path: 'src' },
      });
    }
  }
  await expect(explainPipeline(new Failing(), { steps: graph({ a: '' }) })).rejects.toMatchObject({
    code: 'HostFile',
    message: 'step a: no such folder: src',
    remedy: 'Make it.',
    details: { path: 'src' },
  });
});

test('a pipeline is checked before any step is', async () => {
  await expect(explainPipeline(new ScriptedRunner(), { steps: {} })).rejects.toMatchObject({
    code: 'PipelineInvalid',
  });
});
