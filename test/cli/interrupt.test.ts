import { expect, test } from 'vitest';
import type { EndSignal } from '../../src/cli/io.ts';
import { testCli } from './support/run-cli.ts';

const never = () => new Promise<number>(() => undefined);

test.each<[EndSignal, number]>([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
])('%s ends the command and its machine, and the CLI exits with %i', async (signal, exit) => {
  const { run, io, alcove } = testCli();
  alcove.script = () => {
    io.signal(signal);
    return never();
  };
  expect(await run('run', '--', 'sleep', '60')).toBe(exit);
  expect(alcove.calls.slice(1)).toEqual([['killed'], ['destroyed']]);
  expect(alcove.closed).toBe(1);
  expect(io.stderr.text).toBe(`alcove: interrupted by ${signal}\n`);
  expect(io.forcedExits).toEqual([]);
});

test('a second signal exits at once', async () => {
  const { run, io, alcove } = testCli();
  let finish: (code: number) => void = () => undefined;
  alcove.before = (call) => {
    if (call !== 'start') return;
    io.signal('SIGINT');
    io.clock.advance(1000);
    io.signal('SIGINT');
    return new Promise<void>((resolve) => {
      finish = () => resolve();
    });
  };
  alcove.vms = [];
  const done = run('vm', 'create', '--start');
  await new Promise(setImmediate);
  expect(io.forcedExits).toEqual([130]);
  finish(0);
  await done;
});

test('one Ctrl-C that arrives twice, by way of a wrapper, counts once', async () => {
  const { run, io, alcove } = testCli();
  alcove.script = () => {
    io.signal('SIGINT');
    io.clock.advance(100);
    io.signal('SIGINT');
    return never();
  };
  expect(await run('run', '--', 'sleep', '60')).toBe(130);
  expect(io.forcedExits).toEqual([]);
});

test('a command that ends well although it was interrupted keeps its own exit code', async () => {
  const { run, io, alcove } = testCli();
  alcove.before = (call) => {
    if (call === 'destroyed') io.signal('SIGINT');
  };
  alcove.script = async () => 5;
  expect(await run('run', '--', 'x')).toBe(5);
});

test('with --json the interruption is said as JSON', async () => {
  const { run, io, alcove } = testCli();
  alcove.script = () => {
    io.signal('SIGTERM');
    return never();
  };
  expect(await run('--json', 'run', '--', 'x')).toBe(143);
  expect(JSON.parse(io.stderr.text)).toEqual({
    error: { code: 'Cancelled', message: 'interrupted by SIGTERM', remedy: '', details: {} },
  });
});
