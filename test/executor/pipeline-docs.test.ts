import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { expect, test } from 'vitest';
import { checkPipeline, explainPipeline, type Pipeline } from '../../src/executor/index.ts';
import { graph, start, statuses } from './pipeline-fixture.ts';
import { ScriptedRunner } from './scripted-runner.ts';

const page = readFileSync('docs/pipelines.md', 'utf8');

/** What the example of that name exports. */
async function example(file: string): Promise<Pipeline> {
  const [, code = ''] = new RegExp(`\`\`\`ts\n(// ${file}\n.*?)\`\`\``, 's').exec(page) ?? [];
  const module = await import(`data:text/javascript,${encodeURIComponent(stripTypeScriptTypes(code))}`);
  return checkPipeline(module.default);
}

test('the example at the top is run as the page says', async () => {
  const { runner, result } = start(await example('ci.ts'));
  (await runner.call('deps')).pass();
  await runner.call('lint');
  expect([...runner.running]).toEqual(['build', 'lint']);
  for (const step of ['build', 'lint', 'test', 'publish']) (await runner.call(step)).pass();
  expect(new Set(Object.values(statuses(await result)))).toEqual(new Set(['passed']));
  expect(runner.removed).toEqual(['made/publish']);
});

test('the example about caching is cached as the page says', async () => {
  const explained = await explainPipeline(new ScriptedRunner(), await example('cached.ts'));
  expect(explained.filter(({ explanation }) => explanation.verdict === 'not cached')).toMatchObject([
    { step: 'deploy' },
  ]);
});

test('the events are those that the page shows', async () => {
  const { runner, events, result } = start({ name: 'ci', steps: graph({ deps: '' }) });
  const deps = await runner.call('deps');
  deps.options.onProgress?.('starting the machine');
  await deps.print('installing');
  deps.exit(2);
  await result;
  const [, shown = ''] = /```jsonl\n(.*?)```/s.exec(page) ?? [];
  expect(events.map((event) => JSON.stringify(event)).join('\n')).toBe(shown.trim());
});
