import { describe, expect, test } from 'vitest';
import { cancelled } from '../../src/errors.ts';
import type { FakeCommand } from './support/fake-alcove.ts';
import { testCli } from './support/run-cli.ts';

const terminals = ['stdin', 'stdout', 'stderr'] as const;
const size = { rows: 40, columns: 120 };

/** A shell that echoes what it is sent and goes on until `exit`. */
const echo = async ({ stdin, stdout }: FakeCommand) => {
  for await (const chunk of stdin) {
    await stdout(chunk);
    if (String(chunk).endsWith('exit\r')) return 5;
  }
  return 0;
};

describe('alcove session shell', () => {
  test('starts one that goes on without it, on a terminal like the one here', async () => {
    const env = { TERM: 'xterm-256color', COLORTERM: 'truecolor' };
    const { run, io, alcove } = testCli({ terminals, size, env });
    alcove.script = echo;
    io.stdin.write('ls\x03\x04exit\r');
    expect(await run('session', 'shell', 'web', '--wait', '2s')).toBe(5);
    expect(alcove.calls).toEqual([
      ['acquire', 'web', { mode: 'shared', waitMs: 2000 }],
      ['lease.spawn', undefined, { detachedId: 'shell', env, pty: size, stdin: 'pipe', background: 'keep' }],
      ['process disposed'],
      ['process disposed'],
      ['released', 'web'],
    ]);
    expect(io.stdout.text).toBe('ls\x03\x04exit\r');
    expect(io.stderr.text).toBe('alcove: a new shell in session web; Ctrl-] detaches, and it runs on\n');
    expect(io.modes).toEqual(['raw', 'cooked']);
  });

  test('attaches to the one that runs, has it drawn again in the size here, and follows it', async () => {
    const { run, io, alcove } = testCli({ terminals, size });
    alcove.sessions.shells = ['shell', 'shell-logs'];
    let sizes: FakeCommand['sizes'] = [];
    alcove.script = async (command) => {
      sizes = command.sizes;
      await command.stdout('as it was');
      io.resize({ rows: 50, columns: 90 });
      return 0;
    };
    expect(await run('session', 'shell', 'web', '--name', 'logs')).toBe(0);
    expect(alcove.calls[1]).toEqual(['lease.attach', 'shell-logs']);
    expect(sizes.at(-1)).toEqual({ rows: 50, columns: 90 });
    expect(io.stdout.text).toBe('as it was');
    expect(io.stderr.text).toContain('back in the shell of session web; Ctrl-] detaches');
  });

  test('of the same size as before, a program is told of a change all the same', async () => {
    const { run, io, alcove } = testCli({ terminals, size });
    alcove.sessions.shells = ['shell'];
    let sizes: FakeCommand['sizes'] = [];
    alcove.script = async (command) => {
      sizes = command.sizes;
      return echo(command);
    };
    io.stdin.write('exit\r');
    await run('session', 'shell', 'web');
    expect(sizes).toEqual([{ rows: 39, columns: 120 }, size]);
  });

  test('Ctrl-] detaches: what stands before it arrives, and the terminal is as before', async () => {
    const { run, io, alcove } = testCli({ terminals, size });
    const typed: string[] = [];
    alcove.script = async ({ stdin, stdout }) => {
      await stdout('\x1b[?1049h\x1b[1m~');
      for await (const chunk of stdin) typed.push(Buffer.from(chunk).toString());
      return 0;
    };
    setImmediate(() => io.stdin.write('vi\x1dq'));
    expect(await run('session', 'shell', 'web', '--name', 'b')).toBe(0);
    expect(typed).toEqual(['vi']);
    expect(io.stdout.text).toBe('\x1b[?1049h\x1b[1m~\x1b[?1049l\x1b[0m');
    expect(io.stderr.text).toMatch(
      /\nalcove: detached; it runs on\. Come back with: alcove session shell web --name b\n$/,
    );
    expect(io.modes).toEqual(['raw', 'cooked']);
    expect(alcove.calls).not.toContainEqual(['killed']);
    expect(alcove.calls.at(-1)).toEqual(['released', 'web']);
  });

  test('a terminal that is gone detaches; the shell is sent no end of its input', async () => {
    const { run, io, alcove } = testCli({ terminals, size });
    let ended = false;
    alcove.script = async ({ stdin }) => {
      for await (const _ of stdin);
      ended = true;
      return 0;
    };
    io.stdin.end();
    expect(await run('session', 'shell', 'web')).toBe(0);
    expect(ended).toBe(false);
    expect(io.stderr.text).toContain('detached');
  });

  test.each([
    ['SIGHUP', 129],
    ['SIGTERM', 143],
  ] as const)('%s detaches', async (signal, code) => {
    const { run, io, alcove } = testCli({ terminals, size });
    alcove.script = () => {
      io.signal(signal);
      return new Promise(() => undefined);
    };
    expect(await run('session', 'shell', 'web')).toBe(code);
    expect(alcove.calls).toContainEqual(['let go']);
    expect(io.stderr.text).toContain('it runs on');
    expect(io.modes).toEqual(['raw', 'cooked']);
  });

  test('another terminal that takes it over is no failure', async () => {
    const { run, io, alcove } = testCli({ terminals, size });
    alcove.script = async () => {
      throw cancelled('attach to the command shell');
    };
    expect(await run('session', 'shell', 'web')).toBe(0);
    expect(io.stderr.text).toContain('another terminal has this shell now; it runs on');
  });

  test('a guest that goes away is one, and the terminal is as before', async () => {
    const { run, io, alcove } = testCli({ terminals, size });
    alcove.script = async () => {
      throw new Error('the guest went away');
    };
    expect(await run('session', 'shell', 'web')).toBe(125);
    expect(io.modes).toEqual(['raw', 'cooked']);
    expect(alcove.calls.at(-1)).toEqual(['released', 'web']);
  });

  test('without a terminal it says what to use, and nothing is made', async () => {
    const { run, io, alcove } = testCli({ terminals: ['stdout'] });
    expect(await run('session', 'shell', 'web')).toBe(2);
    expect(io.stderr.text).toBe(
      'alcove: a shell needs a terminal, and standard input is none\n  Run a command in place of it: alcove session exec web -- COMMAND\n',
    );
    expect(alcove.opened).toEqual([]);
  });

  test.each(['', 'A', 'a b', '-x', 'x'.repeat(57)])('%j is not a name', async (name) => {
    const { run } = testCli({ terminals, size });
    expect(await run('session', 'shell', 'web', `--name=${name}`)).toBe(2);
  });
});
