/** Cached execution over the command line, on real machines: what ran once with the same inputs is not run again. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CacheEntry, Explanation, PipelineEvent } from '../../src/executor/index.ts';
import { type CliOptions, CommandLine } from './command-line.ts';

const cli = new CommandLine();
const work = mkdtempSync(join(tmpdir(), 'cli-'));
const folder = join(work, 'src');
const list = () => cli.json<CacheEntry[]>(['cache', 'ls']);

/** Ctrl-C as soon as there is a machine. */
const interruptOnceItRuns: CliOptions = {
  onStart: ({ pid, kill }) => {
    const timer = setInterval(() => {
      const isOver = !existsSync(`/proc/${pid}`);
      if (!isOver && cli.processes().length === 0) return;
      if (!isOver) kill('SIGINT');
      clearInterval(timer);
    }, 50);
  },
};

beforeAll(async () => {
  mkdirSync(folder);
  writeFileSync(join(folder, 'words.txt'), 'one\n');
  expect((await cli.run(['run', '--', 'true'])).code).toBe(0); // Kernel, image and template are there from now on.
});
afterAll(async () => {
  expect(cli.processes()).toEqual([]);
  await cli[Symbol.asyncDispose]();
  rmSync(work, { recursive: true });
});

describe('alcove run with a key', () => {
  const script = 'cat words.txt; echo careful >&2; head -c 16 /dev/urandom | od -An -tx1';
  const flags = ['--auto-key', '--inject', folder];
  const build = ['run', ...flags, '--', 'sh', '-c', script];
  let first = '';

  test('a hit shows what the first run printed, and makes no machine', async () => {
    const miss = await cli.run(build);
    expect(miss).toMatchObject({ code: 0, stdout: expect.stringMatching(/^one\n( [0-9a-f]{2}){16}\n$/) });
    expect(miss.stderr).toMatch(/^careful\n(.*\n)*alcove: ran in .* s, stored; key v1:[0-9a-f]{12}\n$/m);
    first = miss.stdout;
    const hit = await cli.run(build);
    expect(hit).toMatchObject({ code: 0, stdout: first });
    expect(hit.stderr).toMatch(/careful\nalcove: cached, saved .* s; key v1:[0-9a-f]{12}\n$/);
  });

  test('a file that changed makes a miss, and explain names it before anything runs', async () => {
    writeFileSync(join(folder, 'words.txt'), 'two\n');
    const explain = ['cache', 'explain', ...flags];
    const told = await cli.run([...explain, '--', 'sh', '-c', script]);
    expect(told.stdout).toMatch(/^miss: 1 input differs from v1:/);
    expect(told.stdout).toMatch(/^ {2}inject \S*\/words\.txt {2}\S/m);
    const asJson = await cli.run(['--json', ...explain, '--', 'sh', '-c', script]);
    expect(JSON.parse(asJson.stdout) as Explanation).toMatchObject({
      verdict: 'miss',
      nearest: { changes: [{ input: 'inject./work/words.txt' }] },
    });
    const second = await cli.run(build);
    expect(second.stdout).toMatch(/^two\n/);
    writeFileSync(join(folder, 'words.txt'), 'one\n');
    expect((await cli.run(build)).stdout).toBe(first);
  });

  test('what it made is where the next one starts; the listing of snapshots leaves it out', async () => {
    const [latest] = await list();
    if (!latest) throw new Error('nothing is cached');
    const next = await cli.run(['run', '--from', latest.snapshot, '--', 'cat', '/work/words.txt']);
    expect(next).toMatchObject({ code: 0, stdout: 'one\n' });
    expect(await cli.json(['snapshot', 'ls'])).toEqual([]);
    expect(await cli.json(['snapshot', 'ls', '--all'])).toHaveLength(2);
  });

  test('nothing but success is kept, and the exit codes are as without a key', async () => {
    const before = await list();
    expect((await cli.run(['run', '--auto-key', '--', 'sh', '-c', 'exit 7'])).code).toBe(7);
    expect((await cli.run(['run', '--auto-key', '--', 'sh', '-c', 'exit 7'])).stderr).toContain(
      'not stored: exit code 7',
    );
    expect((await cli.run(['run', '--auto-key', '--timeout', '200ms', '--', 'sleep', '30'])).code).toBe(124);
    expect((await cli.run(['run', '--auto-key', '--', '/no/such'])).code).toBe(127);
    const cancelled = await cli.run(
      ['run', '--cache', 'c', '--', 'sh', '-c', 'echo on; sleep 30'],
      interruptOnceItRuns,
    );
    expect(cancelled.code).toBe(130);
    expect((await list()).map(({ key }) => key)).toEqual(before.map(({ key }) => key));
  });

  test('a secret counts and is shown nowhere', async () => {
    const run = (secret: string) =>
      cli.run(['run', '--auto-key', '--secret', `TOKEN=${secret}`, '--', 'sh', '-c', 'echo ran']);
    expect((await run('hunter2')).stderr).toContain('stored');
    expect((await run('hunter2')).stderr).toContain('cached');
    const [entry] = await list();
    const told = await cli.run(['cache', 'inspect', entry?.key ?? '']);
    expect(told.stdout).toMatch(/env\.TOKEN +\(hidden\)/);
    expect(
      told.stdout + (await cli.run(['cache', 'inspect', '--json', entry?.key ?? ''])).stdout,
    ).not.toContain('hunter2');
    const changed = await cli.run([
      ...['cache', 'explain', '--auto-key', '--secret', 'TOKEN=hunter3', '--', 'sh', '-c', 'echo ran'],
    ]);
    expect(changed.stdout).toMatch(/env\.TOKEN +changed \(hidden\)/);
  });

  test('rm takes the beginning of a key, and the next run is a miss that says why', async () => {
    const [entry] = await list();
    const key = entry?.key ?? '';
    expect(await cli.json(['cache', 'rm', key.slice(0, 12)])).toEqual({ removed: [key] });
    const told = await cli.run([
      'cache',
      'explain',
      '--auto-key',
      '--secret',
      'TOKEN=hunter2',
      '--',
      'sh',
      '-c',
      'echo ran',
    ]);
    expect(told.stdout).toMatch(/^miss: its entry was removed /);
    await cli.json(['cache', 'rm', '--all']);
    expect(await list()).toEqual([]);
    expect(readdirSync(join(cli.stateDir, 'snapshots'))).toEqual([]);
  });
});

describe('alcove pipeline', () => {
  const file = join(work, 'build.ts');
  const declare = (test: string) =>
    writeFileSync(
      file,
      `const to: string = '/src';
export default {
  steps: {
    build: { from: { image: 'builtin' }, command: 'cat words.txt > /built; echo building', inject: { from: 'src', to }, workdir: to },
    test: { from: { step: 'build' }, command: '${test}' },
  },
};
`,
    );
  const events = (text: string) =>
    text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as PipelineEvent);

  test('runs its steps, and the second time none of them, showing the same output', async () => {
    declare('cat /built');
    const cold = await cli.run(['pipeline', 'run', file]);
    expect(cold.code).toBe(0);
    expect(cold.stdout).toMatch(
      /^build \| building\nbuild passed in .* s\ntest {2}\| one\ntest passed in .* s\npassed in .* s: 2 passed\n$/,
    );
    const warm = await cli.run(['pipeline', 'run', file]);
    expect(warm.code).toBe(0);
    expect(warm.stdout).toMatch(
      /^build \| building\nbuild cached, saved .* s\ntest {2}\| one\ntest cached, saved .* s\npassed in .* s: 2 cached; saved .* s\n$/,
    );
    expect((await cli.run(['pipeline', 'explain', file, '-q'])).stdout).toBe('');
  });

  test('explains what a change would run, and says as events what it did', async () => {
    writeFileSync(join(folder, 'words.txt'), 'three\n');
    const told = await cli.run(['pipeline', 'explain', file]);
    expect(told.stdout).toContain('inject /src/words.txt');
    expect(told.stdout).toMatch(/\n\n2 of 2 would run\n$/);
    const { code, stdout } = await cli.run(['pipeline', 'run', file, '--json']);
    expect(code).toBe(0);
    const told2 = events(stdout);
    expect(told2.map(({ seq }) => seq)).toEqual(told2.map((_, i) => i + 1));
    expect(told2.at(-1)).toMatchObject({
      event: 'pipeline-ended',
      result: { status: 'passed', exitCode: 0 },
    });
    expect(told2.flatMap((e) => (e.event === 'output' ? [e.line] : []))).toEqual(['building', 'three']);
  });

  test('a step that fails makes it exit with 1, and its last words are shown', async () => {
    declare('echo oh no >&2; exit 3');
    const { code, stdout } = await cli.run(['pipeline', 'run', '-q', file]);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^test: .*3\n {2}\| oh no\n/);
    expect(stdout).toMatch(/\n\nfailed in .* s: 1 cached, 1 failed/);
  });

  test('Ctrl-C ends it with 130 and a summary, and no machine stays', async () => {
    declare('sleep 30');
    const { code, stdout } = await cli.run(['pipeline', 'run', file], interruptOnceItRuns);
    expect(code).toBe(130);
    expect(stdout).toMatch(/\ncancelled in .* s: 1 cached, 1 cancelled/);
    expect(cli.processes()).toEqual([]);
  });
});
