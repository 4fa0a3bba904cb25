import { describe, expect, test } from 'vitest';
import { AlcoveError } from '../../src/errors.ts';
import { testCli } from './support/run-cli.ts';

describe('alcove session exec', () => {
  test('runs a shell line in a session of its own, with its flags, and exits as it does', async () => {
    const { run, io, alcove } = testCli();
    alcove.script = async ({ stdout, stderr }) => {
      await stdout('out');
      await stderr('err');
      return 9;
    };
    const flags = ['-e', 'A=b', '-w', '/x', '-u', 'nobody', '--timeout', '1m', '--background'];
    expect(await run('session', 'exec', ...flags, 'web', '--', 'ls | wc')).toBe(9);
    const request = { env: { A: 'b' }, cwd: '/x', user: 'nobody', timeoutMs: 60_000, background: 'keep' };
    expect(alcove.calls).toEqual([
      ['acquire', 'web', { mode: 'exclusive' }],
      ['lease.exec', 'ls | wc', request],
      ['released', 'web'],
    ]);
    expect([io.stdout.text, io.stderr.text]).toEqual(['out', 'err']);
    expect(alcove.closed).toBe(1);
  });

  test.each([
    [['echo a; echo b'], 'echo a; echo b'],
    [['echo', 'a b', '-n'], "echo 'a b' -n"],
  ])('%j is the line %j', async (words, line) => {
    const { run, alcove } = testCli();
    expect(await run('session', 'exec', 'web', ...words)).toBe(0);
    expect(alcove.calls[1]).toEqual(['lease.exec', line, {}]);
  });

  test('passes on standard input', async () => {
    const { run, io, alcove } = testCli();
    let got = '';
    alcove.script = async ({ stdin }) => {
      for await (const chunk of stdin) got += Buffer.from(chunk).toString();
      return 0;
    };
    io.stdin.end('typed\n');
    expect(await run('session', 'exec', '-i', 'web', '--', 'cat')).toBe(0);
    expect(got).toBe('typed\n');
    expect(alcove.calls[1]).toEqual(['lease.exec', 'cat', { stdin: 'pipe' }]);
  });

  test('with -t runs on a terminal with the colours of the one here', async () => {
    const terminals = ['stdin', 'stdout', 'stderr'] as const;
    const env = { TERM: 'xterm-256color', COLORTERM: 'truecolor' };
    const { run, io, alcove } = testCli({ terminals, size: { rows: 40, columns: 120 }, env });
    alcove.script = async () => 4;
    expect(await run('session', 'exec', '-it', '--shared', 'web', '--', 'vi', 'a b')).toBe(4);
    expect(alcove.calls).toEqual([
      ['acquire', 'web', { mode: 'shared' }],
      ['lease.spawn', "vi 'a b'", { env, pty: { rows: 40, columns: 120 }, stdin: 'pipe' }],
      ['process disposed'],
      ['released', 'web'],
    ]);
    expect(io.modes).toEqual(['raw', 'cooked']);
  });

  test('says its place while it waits in the queue, and for how long it does', async () => {
    const { run, io, alcove } = testCli();
    alcove.sessions.queue = [10, 2, 1];
    alcove.sessions.onPlace = () => io.clock.advance(1500);
    expect(await run('session', 'exec', '--wait', '10s', 'web', 'true')).toBe(0);
    expect(alcove.calls[0]).toEqual(['acquire', 'web', { mode: 'exclusive', waitMs: 10_000 }]);
    expect(io.stderr.text).toBe(
      `number 10 in the queue of session web … 1.5 s
second in the queue of session web … 1.5 s
first in the queue of session web … 1.5 s
`,
    );
  });

  test('gives the lease back when it fails, and when Ctrl-C ends it', async () => {
    const failing = testCli();
    failing.alcove.script = async () => {
      throw new AlcoveError('CommandTimedOut', 'too long', { details: { timeoutMs: 1 } });
    };
    expect(await failing.run('session', 'exec', 'web', 'sleep 9')).toBe(124);
    expect(failing.alcove.calls.at(-1)).toEqual(['released', 'web']);
    const { run, io, alcove } = testCli();
    alcove.script = () => {
      io.signal('SIGINT');
      return new Promise(() => undefined);
    };
    expect(await run('session', 'exec', 'web', 'sleep 9')).toBe(130);
    expect(alcove.calls.slice(-2)).toEqual([['killed'], ['released', 'web']]);
  });

  test('options behind the session are refused with the way to write them', async () => {
    const { run, io } = testCli();
    expect(await run('session', 'exec', 'web', '-it', '--', 'sh')).toBe(2);
    expect(io.stderr.text).toContain('alcove session exec -it … web -- COMMAND');
  });
});
