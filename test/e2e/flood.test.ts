import { afterAll, expect, test } from 'vitest';
import { CommandLine } from './command-line.ts';

const cli = new CommandLine();
afterAll(() => cli[Symbol.asyncDispose]());

/** Set `ALCOVE_TEST_FLOOD_MB=5000` for the size that the promise names. */
const megabytes = Number(process.env.ALCOVE_TEST_FLOOD_MB ?? 300);

test('a command that prints without end keeps the engine small, and every byte arrives', async () => {
  const script = `dd if=/dev/zero bs=1M count=${megabytes} 2>/dev/null`;
  const ended = await cli.run(['run', '--', 'sh', '-c', script]);
  expect(ended.stdoutBytes).toBe(megabytes * 2 ** 20);
  expect(ended.code).toBe(0);
  expect(ended.peakMiB).toBeLessThan(150);
});
