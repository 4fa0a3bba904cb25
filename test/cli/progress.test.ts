import { expect, test } from 'vitest';
import { testCli } from './support/run-cli.ts';

/** A run whose boot takes `bootMs`. */
function slowBoot(cli: ReturnType<typeof testCli>, bootMs: number): void {
  cli.alcove.before = (call) => {
    if (call === 'run') cli.io.clock.advance(bootMs);
  };
  cli.alcove.script = async ({ stdout }) => {
    await stdout('done\n');
    return 0;
  };
}

test('on a terminal a live line counts up and is erased before the command’s output', async () => {
  const cli = testCli({ terminals: ['stderr'] });
  slowBoot(cli, 250);
  await cli.run('run', '--', 'x');
  expect(cli.io.stderr.text).toBe('\r\x1b[2Kbooting … 0.1 s\r\x1b[2Kbooting … 0.2 s\r\x1b[2K');
});

test('the live line is no wider than the terminal', async () => {
  const cli = testCli({ terminals: ['stderr'], size: { rows: 5, columns: 10 } });
  slowBoot(cli, 100);
  await cli.run('run', '--', 'x');
  expect(cli.io.stderr.text).toBe('\r\x1b[2Kbooting …\r\x1b[2K');
});

test('elsewhere a step that took over a second gets a line', async () => {
  const cli = testCli();
  slowBoot(cli, 1200);
  await cli.run('run', '--', 'x');
  expect(cli.io.stderr.text).toBe('booting … 1.2 s\n');
});

test.each([
  ['a short step', 900, [] as string[]],
  ['-q', 9000, ['-q']],
])('nothing is said for %s', async (_, ms, flags) => {
  const cli = testCli();
  slowBoot(cli, ms);
  await cli.run('run', ...flags, '--', 'x');
  expect(cli.io.stderr.text).toBe('');
});
