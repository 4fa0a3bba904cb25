/** The example projects, as a reader of examples/README.md runs them, and changes them. */
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { exampleImage, exampleImageTar } from '../../examples/image-tar.ts';
import { root } from '../../scripts/build.ts';
import type { PipelineEvent, PipelineResult, StepExplanation } from '../../src/index.ts';
import { CommandLine, type Ended } from './command-line.ts';

const cli = new CommandLine();
/** A copy: the tests change it. */
const examples = mkdtempSync(join(tmpdir(), 'examples-'));
afterAll(async () => {
  await cli[Symbol.asyncDispose]();
  rmSync(examples, { recursive: true });
});

const projects = ['c-project', 'npm-package'] as const;
type Project = (typeof projects)[number];
const stepsOf = {
  'c-project': ['build', 'unit-tests', 'command-tests', 'analyze', 'install'],
  'npm-package': ['install', 'check', 'test', 'pack'],
} as const;
const first = new Map<Project, PipelineResult>();

beforeAll(async () => {
  cpSync(join(root, 'examples'), examples, { recursive: true, verbatimSymlinks: true });
  const tar = await exampleImageTar(() => {});
  const imported = await cli.run(['image', 'import', tar, '--name', exampleImage]);
  expect(imported.stderr).not.toMatch(/alcove:/);
  for (const project of projects) first.set(project, await runPipeline(project));
}, 600_000);

/** Also sees that its exit code is the one of its result. */
async function runPipeline(project: Project, ...flags: readonly string[]): Promise<PipelineResult> {
  const ended = await cli.run(['pipeline', 'run', fileOf(project), ...flags, '--json']);
  const result = resultOf(ended);
  expect(ended.code).toBe(result.exitCode);
  return result;
}

function resultOf({ stdout, stderr }: Ended): PipelineResult {
  const events = stdout.split('\n').filter(Boolean);
  const last = JSON.parse(events.at(-1) ?? '{}') as PipelineEvent;
  if (last.event !== 'pipeline-ended') throw new Error(`the pipeline did not end: ${stderr}`);
  expect(last.seq).toBe(events.length);
  return last.result;
}

function fileOf(project: Project): string {
  return join(examples, project, 'pipeline.ts');
}

/** What each step came to, by name. */
function statuses({ steps }: PipelineResult): Record<string, string> {
  return Object.fromEntries(steps.map(({ step, status }) => [step, status]));
}

function allOf(project: Project, status: string): Record<string, string> {
  return Object.fromEntries(stepsOf[project].map((step) => [step, status]));
}

/** The inputs that each step's explanation names, of those that would run. */
async function changedInputs(project: Project): Promise<Record<string, string[]>> {
  const steps = await cli.json<StepExplanation[]>(['pipeline', 'explain', fileOf(project)]);
  return Object.fromEntries(
    steps.flatMap(({ step, explanation }) =>
      explanation.verdict === 'miss'
        ? [[step, (explanation.nearest?.changes ?? []).map(({ input }) => input)]]
        : [],
    ),
  );
}

test.each(projects)('%s passes', (project) => {
  const result = first.get(project);
  expect(result && statuses(result)).toEqual(allOf(project, 'passed'));
  expect(result?.exitCode).toBe(0);
});

test.each(projects)('%s, run again, is cached in every step and makes no machine', async (project) => {
  const machines = () => cli.json<unknown[]>(['vm', 'ls', '--all']);
  const before = await machines();
  const again = await runPipeline(project);
  expect(statuses(again)).toEqual(allOf(project, 'cached'));
  expect(again.savedMs).toBeGreaterThan(0);
  expect(await machines()).toEqual(before);
});

test('a changed test of the npm package runs that step alone again, and explain names the file', async () => {
  appendFileSync(join(examples, 'npm-package/test/table-facts.test.js'), '// changed\n');
  expect(await changedInputs('npm-package')).toEqual({
    test: ['inject./package/test/table-facts.test.js'],
  });
  const result = await runPipeline('npm-package');
  expect(statuses(result)).toEqual({ ...allOf('npm-package', 'cached'), test: 'passed' });
});

test('a broken test of the C project fails its step, with its output, and what waits for it is skipped', async () => {
  const file = join(examples, 'c-project/test/unit/check.c');
  const sound = readFileSync(file, 'utf8');
  writeFileSync(file, sound.replace('CHECK(table.used == 2000);', 'CHECK(table.used == 2001);'));
  const ended = await cli.run(['pipeline', 'run', fileOf('c-project'), '--keep-going']);
  expect(ended.code).toBe(1);
  expect(ended.stdout).toMatch(/does not hold: table\.used == 2001/);
  const result = await runPipeline('c-project', '--keep-going');
  expect(statuses(result)).toEqual({
    ...allOf('c-project', 'cached'),
    'unit-tests': 'failed',
    install: 'skipped',
  });
  const failed = result.steps.find(({ step }) => step === 'unit-tests');
  expect(failed?.lastOutput).toContainEqual(
    expect.stringMatching(/^check\.c:\d+: does not hold: table\.used == 2001$/),
  );
  expect(result.steps.find(({ step }) => step === 'install')?.because).toBe('unit-tests');
  writeFileSync(file, sound);
});

test('a changed source of the C project runs all that is built from it again, and explain names the file', async () => {
  appendFileSync(join(examples, 'c-project/src/words.c'), '/* changed */\n');
  const changed = await changedInputs('c-project');
  expect(changed.build).toEqual(['inject./project/src/words.c']);
  expect(Object.keys(changed)).toEqual(stepsOf['c-project']);
  expect(statuses(await runPipeline('c-project'))).toEqual(allOf('c-project', 'passed'));
});
