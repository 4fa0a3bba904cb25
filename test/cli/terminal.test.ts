import { describe, expect, test } from 'vitest';
import { vmInfo } from './support/fake-alcove.ts';
import { testCli } from './support/run-cli.ts';

const terminals = ['stdin', 'stdout', 'stderr'] as const;
const size = { rows: 40, columns: 120 };

describe('run -it', () => {
  test('gets a terminal of the size here, keys in raw mode, and new sizes', async () => {
    const { run, io, alcove } = testCli({ terminals, size, env: { TERM: 'xterm-256color' } });
    let keys = '';
    alcove.script = async ({ stdin, stdout, sizes }) => {
      await stdout('$ ');
      for await (const chunk of stdin) {
        keys += Buffer.from(chunk).toString();
        if (keys.endsWith('\x04')) break;
      }
      io.resize({ rows: 50, columns: 90 });
      expect(sizes).toEqual([{ rows: 50, columns: 90 }]);
      expect(io.modes).toEqual(['raw']);
      return 7;
    };
    io.stdin.write('exit 7\x03\x04');
    expect(await run('run', '-it', '-e', 'A=1', '--', '/bin/sh')).toBe(7);
    expect(keys).toBe('exit 7\x03\x04');
    expect(io.modes).toEqual(['raw', 'cooked']);
    expect(io.stdout.text).toBe('$ ');
    expect(alcove.calls).toEqual([
      ['run', { image: 'builtin' }, { command: ['/bin/sh'], env: { A: '1' } }],
      [
        'spawn',
        'run-1',
        { command: ['/bin/sh'], env: { TERM: 'xterm-256color', A: '1' }, pty: size, stdin: 'pipe' },
      ],
      ['process disposed'],
      ['destroyed'],
    ]);
  });

  test('the terminal is as before when the command fails, and the machine is gone', async () => {
    const { run, io, alcove } = testCli({ terminals, size, env: { NO_COLOR: '1' } });
    alcove.script = async () => {
      throw new Error('the guest went away');
    };
    expect(await run('run', '-it', '--', 'sh')).toBe(125);
    expect(io.modes).toEqual(['raw', 'cooked']);
    expect(alcove.calls.at(-1)).toEqual(['destroyed']);
    expect(io.stderr.text).toBe(
      'alcove: the guest went away\n  This is a defect of Alcove; please report it.\n',
    );
  });

  test('the terminal is as before after a signal', async () => {
    const { run, io, alcove } = testCli({ terminals, size });
    alcove.script = () => {
      io.signal('SIGTERM');
      return new Promise(() => undefined);
    };
    expect(await run('run', '-it', '--', 'sh')).toBe(143);
    expect(io.modes).toEqual(['raw', 'cooked']);
    expect(alcove.calls.at(-1)).toEqual(['destroyed']);
  });

  test('a timeout exits with 124', async () => {
    const { run, io, alcove } = testCli({ size });
    alcove.script = async () => 124;
    expect(await run('run', '-t', '--timeout', '2s', '--', 'sleep', '9')).toBe(124);
    expect(io.stderr.text).toBe(
      'alcove: the command ran longer than 2.0 s\n  Give it more time with --timeout.\n',
    );
    expect(io.modes).toEqual([]);
  });

  test('without a terminal here the command gets one of the usual size, and piped input', async () => {
    const { run, io, alcove } = testCli();
    io.stdin.end('ls\n');
    let got = '';
    alcove.script = async ({ stdin }) => {
      for await (const chunk of stdin) got += Buffer.from(chunk).toString();
      return 0;
    };
    expect(await run('run', '-it', '--', 'sh')).toBe(0);
    expect(got).toBe('ls\n');
    expect(alcove.calls[1]).toEqual([
      'spawn',
      'run-1',
      { command: ['sh'], env: {}, pty: { rows: 24, columns: 80 }, stdin: 'pipe' },
    ]);
  });
});

describe('alcove shell', () => {
  test.each([
    ['/bin/bash', ['/bin/bash']],
    ['/bin/sh', []],
  ])('opens %s where the guest has %o', async (shell, paths) => {
    const { run, alcove } = testCli({ terminals, size });
    alcove.vms = [vmInfo('web')];
    alcove.paths = paths;
    expect(await run('shell', 'web')).toBe(0);
    expect(alcove.calls[0]).toEqual([
      'spawn',
      'web',
      { command: [shell], env: {}, pty: size, stdin: 'pipe' },
    ]);
  });

  test('without a terminal it runs what it reads', async () => {
    const { run, io, alcove } = testCli();
    alcove.vms = [vmInfo('web')];
    io.stdin.end('df\n');
    expect(await run('shell', 'web')).toBe(0);
    expect(alcove.calls[0]).toEqual(['exec', 'web', { command: ['/bin/sh'], stdin: 'pipe' }]);
  });
});

describe('alcove exec', () => {
  test('runs in the VM with its flags', async () => {
    const { run, alcove } = testCli();
    alcove.vms = [vmInfo('web')];
    alcove.script = async () => 9;
    expect(
      await run('exec', '-e', 'A=b', '-w', '/x', '-u', 'nobody', '--timeout', '1m', 'web', '--', 'ls', '-la'),
    ).toBe(9);
    const request = { command: ['ls', '-la'], env: { A: 'b' }, cwd: '/x', user: 'nobody', timeoutMs: 60_000 };
    expect(alcove.calls).toEqual([['exec', 'web', request]]);
  });

  test('the VM goes on afterwards', async () => {
    const { run, alcove } = testCli({ terminals, size });
    alcove.vms = [vmInfo('web')];
    await run('exec', '-it', 'web', 'sh');
    expect(alcove.calls.map(([call]) => call)).toEqual(['spawn', 'process disposed']);
  });

  test('options behind the VM are refused with the way to write them', async () => {
    const { run, io, alcove } = testCli();
    alcove.vms = [vmInfo('web')];
    expect(await run('exec', 'web', '-it', '--', 'sh')).toBe(2);
    expect(io.stderr.text).toBe(
      'alcove: command: "-it" is not a command\n  Options stand before the VM: alcove exec -it … web -- COMMAND\n',
    );
  });

  test('a VM that is not there', async () => {
    const { run, io } = testCli();
    expect(await run('exec', 'nope', '--', 'ls')).toBe(125);
    expect(io.stderr.text).toBe('alcove: there is no VM nope\n  List what exists with `alcove vm ls`.\n');
  });
});
