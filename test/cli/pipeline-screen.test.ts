import { expect, test } from 'vitest';
import type { StepOutcome } from '../../src/executor/index.ts';
import type { PipelineScript, Unnumbered } from './support/fake-executor.ts';
import { pipelineResult } from './support/fake-executor.ts';
import { pipelineFile } from './support/pipeline-file.ts';
import { type TestCli, testCli } from './support/run-cli.ts';
import { Screen } from './support/screen.ts';

type Emit = Parameters<PipelineScript>[0]['emit'];

const size = { rows: 12, columns: 60 };

interface Live {
  cli: TestCli;
  screen: Screen;
  emit: Emit;
  advance(ms: number): Promise<void>;
}

/** Runs a pipeline on a terminal; `script` plays its events and looks at the screen. */
async function live(
  script: (live: Live) => Promise<StepOutcome[]>,
  options: { size?: typeof size; env?: Record<string, string> } = {},
): Promise<{ screen: Screen; cli: TestCli; code: number }> {
  const at = options.size ?? size;
  const cli = testCli({ terminals: ['stdout', 'stderr'], size: at, env: options.env ?? { NO_COLOR: '1' } });
  const screen = new Screen(cli.io, at);
  let found: { error: unknown } | undefined;
  cli.alcove.executor.pipeline = async ({ emit }) => {
    const advance = async (ms: number) => {
      cli.io.clock.advance(ms);
      await new Promise(setImmediate);
    };
    try {
      return pipelineResult(await script({ cli, screen, emit, advance }));
    } catch (error) {
      found = { error };
      throw error;
    }
  };
  const code = await cli.run('pipeline', 'run', pipelineFile());
  if (found) throw found.error; // The CLI would make an exit code of it.
  return { screen, cli, code };
}

const started = (...names: string[]) =>
  ({
    event: 'pipeline-started',
    steps: names.map((step, i) => ({
      step,
      from: i === 0 ? { image: 'builtin' } : { step: names[i - 1] ?? '' },
      after: [],
    })),
  }) satisfies Unnumbered<Parameters<Emit>[0]>;

const output = (step: string, line: string) =>
  ({ event: 'output', step, stream: 'stdout', line, replayed: false }) as const;

const outcome = (step: string, changes: Partial<StepOutcome> = {}): StepOutcome => ({
  step,
  status: 'passed',
  durationMs: 1200,
  ...changes,
});

test('a live list shows what each step does, output scrolls above it, and the list stays at the end', async () => {
  const { screen, code } = await live(async ({ screen, emit, advance }) => {
    await emit(started('deps', 'compile', 'test'));
    await emit({ event: 'step-started', step: 'deps' });
    await advance(100);
    expect(await screen.visible()).toEqual([
      '> deps     0.1 s',
      '. compile  waits for deps',
      '. test     waits for compile',
      '0 of 3 done, 1 running, 0.1 s',
    ]);
    await emit({ event: 'step-ended', outcome: outcome('deps', { status: 'cached', savedMs: 3000 }) });
    await emit({ event: 'step-started', step: 'compile' });
    await emit({ event: 'step-progress', step: 'compile', doing: 'booting' });
    await emit(output('compile', 'cc main.c'));
    await emit(output('compile', '10%\r100%\x1b[2J'));
    await advance(1200);
    expect(await screen.visible()).toEqual([
      'compile | cc main.c',
      'compile | 100%',
      '+ deps     cached, saved 3.0 s',
      '> compile  1.2 s  booting',
      '. test     waits for compile',
      '1 of 3 done, 1 running, 1.3 s',
    ]);
    await emit({ event: 'step-ended', outcome: outcome('compile') });
    await emit({ event: 'step-started', step: 'test' });
    await emit({ event: 'warning', step: 'test', message: 'the look-up failed' });
    await emit(output('test', 'ok'));
    return [outcome('deps', { status: 'cached' }), outcome('compile'), outcome('test')];
  });
  expect(code).toBe(0);
  expect(await screen.lines()).toEqual([
    'compile | cc main.c',
    'compile | 100%',
    'warning: test: the look-up failed',
    'test    | ok',
    '+ deps     cached, saved 3.0 s',
    '+ compile  passed in 1.2 s',
    '> test     0.0 s',
    '',
    'passed in 5.0 s: 2 passed, 1 cached',
  ]);
});

test('nothing is written while nothing changes, and clocks go on ten times a second', async () => {
  await live(async ({ cli, screen, emit, advance }) => {
    const written = () => cli.io.stdout.chunks.length;
    await emit(started('a', 'b'));
    const first = written();
    await screen.resize(size); // As when a window is moved between desktops.
    expect(written()).toBe(first);
    await advance(5000);
    const idle = written();
    await advance(60_000);
    expect(written()).toBe(idle);
    await emit({ event: 'step-started', step: 'a' });
    const running = written();
    await advance(1000);
    expect(written() - running).toBe(10);
    return [];
  });
});

test('a flood of output becomes few frames, each of them whole', async () => {
  const lines = Array.from({ length: 3000 }, (_, i) => `a | line ${i}`);
  const { screen } = await live(async ({ cli, emit }) => {
    await emit(started('a'));
    await emit({ event: 'step-started', step: 'a' });
    const before = cli.io.stdout.chunks.length;
    for (let i = 0; i < 3000; i++) await emit(output('a', `line ${i}`));
    expect(cli.io.stdout.chunks.length - before).toBeLessThan(10);
    return [];
  });
  expect((await screen.lines()).slice(0, 3000)).toEqual(lines);
});

test('lines longer than the terminal wrap and are whole', async () => {
  const long = 'x'.repeat(size.columns * 2);
  const { screen } = await live(async ({ emit, advance }) => {
    await emit(started('a'));
    await emit(output('a', long));
    await advance(200);
    await emit(output('a', 'next'));
    await advance(200);
    return [];
  });
  const text = (await screen.lines()).join('');
  expect(text).toContain(`a | ${long}`);
  expect(text).toContain('a | next');
});

test('the list is no wider than the terminal, whatever stands in it', async () => {
  await live(
    async ({ screen, emit, advance }) => {
      await emit(started('a'.repeat(60), 'b'));
      await emit({ event: 'step-started', step: 'b' });
      await emit({ event: 'step-progress', step: 'b', doing: `pulling ${'图像'.repeat(40)}\x1b[9A\n` });
      await advance(300);
      const lines = await screen.visible();
      expect(lines).toHaveLength(3);
      expect(lines[0]).toMatch(/^\. a{23}…$/);
      expect(lines[1]).toMatch(/^> b {25}0\.3 s {2}pulling/);
      return [];
    },
    { size: { rows: 10, columns: 44 } },
  );
});

test('the list is no higher than the terminal: those that run or failed come first', async () => {
  const names = Array.from({ length: 30 }, (_, i) => `step-${i}`);
  await live(async ({ screen, emit, advance }) => {
    await emit(started(...names));
    for (const step of names.slice(0, 20)) {
      await emit({ event: 'step-started', step });
      const status = step === 'step-3' ? 'failed' : 'passed';
      await emit({
        event: 'step-ended',
        outcome: outcome(step, { status, exitCode: status === 'failed' ? 2 : 0 }),
      });
    }
    await emit({ event: 'step-started', step: 'step-25' });
    await emit(output('step-25', 'hello'));
    await advance(300);
    const lines = await screen.visible();
    expect(lines).toEqual([
      'step-25 | hello',
      'x step-3   failed in 1.2 s: exit code 2',
      ...[20, 21, 22, 23, 24].map((i) => `. step-${i}  waits for step-${i - 1}`).with(0, '. step-20'),
      '> step-25  0.3 s',
      '. step-26  waits for step-25',
      '  and 22 more',
      '20 of 30 done, 1 running, 0.3 s',
    ]);
    return [];
  });
});

const doing = 'making a machine that takes a while';
const whole = [
  `> first   0.9 s  ${doing}`,
  '. second  waits for first',
  '. third   waits for second',
  '0 of 3 done, 1 running, 0.9 s',
];

test.each([
  [
    'narrower',
    { rows: 12, columns: 25 },
    [
      '> first   0.9 s  making…',
      '. second  waits for fir…',
      '. third   waits for sec…',
      '0 of 3 done, 1 running,…',
    ],
  ],
  ['wider', { rows: 12, columns: 90 }, whole],
  ['lower', { rows: 4, columns: 60 }, [whole[0], whole[3]]],
  ['higher', { rows: 20, columns: 60 }, whole],
])('it survives a terminal that becomes %s', async (_, to, list) => {
  const { screen } = await live(async ({ screen, emit, advance }) => {
    await emit(started('first', 'second', 'third'));
    await emit({ event: 'step-started', step: 'first' });
    await emit({ event: 'step-progress', step: 'first', doing });
    for (let i = 0; i < 6; i++) await emit(output('first', `line ${i}`));
    await advance(300);
    await screen.resize(to);
    await advance(300);
    await emit(output('first', 'after'));
    await advance(300);
    const lines = await screen.visible();
    expect(lines.length).toBeLessThanOrEqual(to.rows);
    expect(lines.filter((line) => !line.startsWith('first  | '))).toEqual(list);
    return [];
  });
  const all = await screen.lines();
  const said = all.filter((line) => line.startsWith('first  | '));
  expect(said).toEqual([...Array.from({ length: 6 }, (_, i) => `first  | line ${i}`), 'first  | after']);
});

test('a ^C that the terminal echoes is wiped away, and nothing scrolls', async () => {
  await live(
    async ({ screen, emit, advance }) => {
      await emit(started('a'));
      await emit({ event: 'step-started', step: 'a' });
      await advance(100);
      await screen.echo('^C');
      await advance(100);
      expect(await screen.visible()).toEqual([
        '> a  0.2 s',
        expect.stringMatching(/^0 of 1 done, 1 run.*…?$/),
      ]);
      return [];
    },
    { size: { rows: 6, columns: 26 } },
  );
});

test('a terminal that takes nothing gets the newest frame later, not all of them', async () => {
  await live(async ({ cli, emit, advance }) => {
    await emit(started(...Array.from({ length: 8 }, (_, i) => `step-number-${i}-of-a-long-name`)));
    await emit({ event: 'step-started', step: 'step-number-0-of-a-long-name' });
    cli.io.stdout.hold();
    for (let i = 0; i < 600; i++) await advance(100);
    expect(cli.io.stdout.writableLength).toBeLessThan(4096);
    cli.io.stdout.release();
    return [];
  });
});

test('names have colours, each its own, and marks are drawn where the locale has them', async () => {
  const { cli } = await live(
    async ({ screen, emit, advance }) => {
      await emit(started('a', 'b'));
      await emit({ event: 'step-started', step: 'a' });
      await emit(output('a', 'x'));
      await emit(output('b', 'y'));
      await advance(100);
      expect(await screen.visible()).toEqual([
        'a | x',
        'b | y',
        '▸ a  0.1 s',
        '· b  waits for a',
        '0 of 2 done, 1 running, 0.1 s',
      ]);
      return [];
    },
    { env: { LANG: 'en_GB.UTF-8' } },
  );
  expect(cli.io.stdout.text).toContain('\x1b[36ma\x1b[39m | x');
  expect(cli.io.stdout.text).toContain('\x1b[35mb\x1b[39m | y');
});

test('on a dumb terminal there are plain lines', async () => {
  const { cli } = await live(
    async ({ emit, advance }) => {
      await emit(started('a'));
      await emit({ event: 'step-started', step: 'a' });
      await advance(1000);
      await emit(output('a', 'x'));
      await emit({ event: 'step-ended', outcome: outcome('a') });
      return [outcome('a')];
    },
    { env: { TERM: 'dumb' } },
  );
  expect(cli.io.stdout.text).toBe('a | x\na passed in 1.2 s\npassed in 5.0 s: 1 passed\n');
});
