import { describe, expect, test } from 'vitest';
import { AlcoveError } from '../../src/errors.ts';
import { testCli } from './support/run-cli.ts';

const key = `v1:${'3f2a'.padEnd(64, '0')}`;

describe('alcove run with a key', () => {
  test('a hit shows the output of the first run, on the streams and with the bytes that it had, and says what it saved', async () => {
    const { run, io, alcove } = testCli();
    alcove.executor.script = async ({ onStdoutBytes, onStderrBytes }) => {
      await onStdoutBytes?.(Uint8Array.of(0xff, 0x00, 0x0a), { replayed: true });
      await onStderrBytes?.(Buffer.from('oh\n'), { replayed: true });
      return { cached: true, key, savedMs: 65_000, durationMs: 1 };
    };
    expect(await run('run', '--auto-key', '--', 'make')).toBe(0);
    expect(Buffer.concat(io.stdout.chunks)).toEqual(Buffer.from([0xff, 0x00, 0x0a]));
    expect(io.stderr.text).toBe('oh\nalcove: cached, saved 1 min 5 s; key v1:3f2a00000000\n');
    expect(alcove.calls).toEqual([
      ['execute', { source: { image: 'builtin' }, command: ['make'] }, { auto: 'forever' }],
    ]);
    expect(alcove.closed).toBe(1);
  });

  test.each([
    ['stored', [], { key, exitCode: 0 }, 0, 'ran in 4.2 s, stored; key v1:3f2a00000000'],
    [
      'not stored',
      ['--cache-mode', 'read-only'],
      { key, exitCode: 0 },
      0,
      'ran in 4.2 s, not stored; key v1:3f2a00000000',
    ],
    ['failed', [], { exitCode: 3 }, 3, 'ran in 4.2 s, not stored: exit code 3'],
  ] as const)(
    'a miss that is %s says so and exits with the command’s code',
    async (_, flags, result, code, says) => {
      const { run, io, alcove } = testCli();
      alcove.executor.script = async () => result;
      expect(await run('run', '--auto-key', ...flags, '--', 'make')).toBe(code);
      expect(io.stderr.text).toBe(`alcove: ${says}\n`);
    },
  );

  test('with -q nothing is said, with --json one object on standard error; standard output is the command’s own', async () => {
    const quiet = testCli();
    expect(await quiet.run('run', '-q', '--cache', 'k', '--', 'make')).toBe(0);
    expect(quiet.io.stderr.text).toBe('');
    const json = testCli();
    json.alcove.executor.script = async ({ onStdoutBytes }) => {
      await onStdoutBytes?.(Buffer.from('out\n'), { replayed: false });
      return { key: 'k', snapshot: 'run-1/done', warnings: ['the look-up failed'] };
    };
    expect(await json.run('run', '--json', '--cache', 'k', '--', 'make')).toBe(0);
    expect(json.io.stdout.text).toBe('out\n');
    expect(JSON.parse(json.io.stderr.text)).toEqual({
      run: {
        exitCode: 0,
        cached: false,
        joined: false,
        stored: true,
        key: 'k',
        snapshot: 'run-1/done',
        durationMs: 4200,
        warnings: ['the look-up failed'],
      },
    });
  });

  test('what went wrong by the way is said when it happens', async () => {
    const { run, io, alcove } = testCli();
    alcove.executor.script = async ({ onWarning }) => {
      onWarning?.('the look-up failed\x1b[2J');
      return { key: 'k' };
    };
    await run('run', '-q', '--cache', 'k', '--', 'make');
    expect(io.stderr.text).toBe('warning: the look-up failed[2J\n');
  });

  test('on a terminal what is said stands on a line of its own', async () => {
    const { run, io, alcove } = testCli({ terminals: ['stdout', 'stderr'], env: { NO_COLOR: '1' } });
    alcove.executor.script = async ({ onStdoutBytes }) => {
      await onStdoutBytes?.(Buffer.from('no newline'), { replayed: true });
      return { cached: true, key: 'k' };
    };
    await run('run', '--cache', 'k', '--', 'printf', 'no newline');
    expect(io.stderr.text).toBe('\nalcove: cached; key k\n');
  });

  test('a slow reader holds up the command', async () => {
    const { run, io, alcove } = testCli();
    io.stdout.hold();
    let written = 0;
    alcove.executor.script = async ({ onStdoutBytes }) => {
      for (; written < 100; written++) await onStdoutBytes?.(Buffer.alloc(1024), { replayed: false });
      return {};
    };
    const done = run('run', '-q', '--cache', 'k', '--', 'yes');
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(written).toBeLessThan(3);
    io.stdout.release();
    expect(await done).toBe(0);
    expect(io.stdout.text).toHaveLength(102_400);
  });

  test('every flag reaches the action or the policy', async () => {
    const { run, alcove } = testCli({ env: { TOKEN: 's3cret' } });
    const flags =
      '--from web/before --on-change package.json --on-change src/**/*.c --ttl 7d --cache-mode refresh --inject . --inject /lib:/usr/lib/x --mirror --no-gitignore -e CC=gcc --secret TOKEN --secret A=b -u nobody --timeout 5m --keep-memory --name build';
    expect(await run('run', ...flags.split(' '), '--', 'make', '-j2')).toBe(0);
    const both = { mirror: true, ignore: 'nothing' };
    expect(alcove.calls).toEqual([
      [
        'execute',
        {
          source: { snapshot: 'web/before' },
          command: ['make', '-j2'],
          env: { CC: 'gcc' },
          secrets: { TOKEN: 's3cret', A: 'b' },
          workdir: '/work',
          user: 'nobody',
          timeoutMs: 300_000,
          inject: [
            { from: process.cwd(), to: '/work', ...both },
            { from: '/lib', to: '/usr/lib/x', ...both },
          ],
          memory: true,
          name: 'build',
        },
        {
          auto: { compose: [{ onChange: ['package.json', 'src/**/*.c'] }, { ttlMs: 7 * 86_400_000 }] },
          mode: 'refresh',
        },
      ],
    ]);
  });

  test.each([
    [['--auto-key'], { auto: 'forever' }],
    [['--auto-key', '--ttl', '30s'], { auto: { ttlMs: 30_000 } }],
    [['--on-change', 'a'], { auto: { onChange: ['a'] } }],
    [['--cache', 'k', '--ttl', '12h'], { cache: 'k', maxAgeMs: 43_200_000 }],
    [['--cache', 'k', '--cache-mode', 'use'], { cache: 'k', mode: 'use' }],
    [['--cache', 'k', '--cache-mode', 'read-only'], { cache: 'k', mode: 'readOnly' }],
  ])('%j', async (flags, policy) => {
    const { run, alcove } = testCli();
    await run(
      'run',
      ...flags,
      '--cpus',
      '2',
      '--memory',
      '1G',
      '--disk',
      '4G',
      '--network',
      'user',
      '--',
      'x',
    );
    const limits = { cpus: 2, memoryMiB: 1024, diskMiB: 4096, network: 'user' };
    expect(alcove.calls).toEqual([
      ['execute', { source: { image: 'builtin' }, command: ['x'], limits }, policy],
    ]);
  });

  test('without a command it runs what the image names', async () => {
    const { run, alcove } = testCli();
    await run('run', '--auto-key');
    expect(alcove.calls[1]).toMatchObject(['execute', { command: ['/bin/sh'] }, {}]);
  });

  test.each([
    ['CommandTimedOut', 124],
    ['CommandNotStarted', 127],
    ['ParentNotCached', 2],
    ['GuestUnreachable', 125],
  ] as const)('%s exits with %i', async (code, exit) => {
    const { run, io, alcove } = testCli();
    alcove.executor.script = async () => {
      throw new AlcoveError(code, 'it went wrong', { remedy: 'Do this.' });
    };
    expect(await run('run', '--auto-key', '--', 'x')).toBe(exit);
    expect(io.stderr.text).toBe('alcove: it went wrong\n  Do this.\n');
    expect(alcove.closed).toBe(1);
  });

  test('Ctrl-C ends it with 130', async () => {
    const { run, io, alcove } = testCli();
    alcove.executor.script = ({ signal }) =>
      new Promise((_, reject) => {
        signal?.addEventListener('abort', () =>
          reject(new AlcoveError('Cancelled', 'the run was cancelled')),
        );
        io.signal('SIGINT');
      });
    expect(await run('run', '--auto-key', '--', 'sleep', '60')).toBe(130);
    expect(io.stderr.text).toBe('alcove: interrupted by SIGINT\n');
  });
});

describe('alcove run without a key', () => {
  test('starts from a snapshot, with labels and secrets as any variable', async () => {
    const { run, alcove } = testCli();
    expect(await run('run', '--from', 'web/before', '--label', 'a=1', '--secret', 'T=x', '--', 'ls')).toBe(0);
    expect(alcove.calls[0]).toEqual([
      'run',
      { from: 'web/before', labels: { a: '1' } },
      { command: ['ls'], env: { T: 'x' } },
    ]);
  });

  test.each([
    [['--inject', 'test/cli/support'], '/work', { cwd: '/work' }],
    [['--inject', 'test/cli/support', '-w', '/srv'], '/srv', { cwd: '/srv' }],
    [['--inject', 'test/cli/support:/srv/x'], '/srv/x', {}],
  ])('%j is copied to %s before the command runs', async (flags, to, runsIn) => {
    const { run, alcove } = testCli();
    const copied: unknown[] = [];
    alcove.files.tarIn = async (path, tar) => {
      for await (const _ of tar);
      copied.push(path, alcove.calls.length);
    };
    expect(await run('run', ...flags, '--', 'ls')).toBe(0);
    expect(copied).toEqual([to, 1]);
    expect(alcove.calls[0]).toEqual(['run', { image: 'builtin' }, { command: ['ls'], ...runsIn }]);
  });

  test('a folder that is not there is named', async () => {
    const { run, io } = testCli();
    expect(await run('run', '--inject', '/nowhere/at-all', '--', 'ls')).not.toBe(0);
    expect(io.stderr.text).toContain('/nowhere/at-all');
  });
});

test.each([
  [['--auto-key', '-i'], /^--interactive: standard input is no part of the key/],
  [['--auto-key', '-t'], /^--tty: /],
  [['--auto-key', '--copy-in', 'a:/a'], /^--copy-in: .*--inject/],
  [['--cache', 'k', '--copy-out', '/a:a'], /^--copy-out: .*no machine to copy out of/],
  [['--cache', 'k', '--label', 'a=b'], /^--label: /],
  [['--cache', 'k', '--kernel', '/k'], /^--kernel: /],
  [['--cache', 'k', '--boot-arg', 'quiet'], /^--boot-arg: /],
  [['--cache', ''], /^--cache: the key is empty/],
  [['--cache', 'k', '--auto-key'], /^--auto-key: with --cache/],
  [['--cache', 'k', '--on-change', 'a'], /^--on-change: with --cache/],
  [['--cache', 'k', '--cache-mode', 'maybe'], /cache-mode.*Allowed choices are use, refresh, read-only/],
  [['--cache', 'k', '--ttl', '7'], /^--ttl: "7" is not an age/],
  [['--cache', 'k', '--ttl', '0d'], /^--ttl: "0d" is no time at all/],
  [['--ttl', '1d'], /^--ttl: without a key nothing is cached/],
  [['--cache-mode', 'use'], /^--cache-mode: without a key/],
  [['--keep-memory'], /^--keep-memory: without a key/],
  [['--name', 'x'], /^--name: without a key/],
  [['--mirror'], /^--mirror: nothing is injected/],
  [['--no-gitignore'], /^--no-gitignore: nothing is injected/],
  [['--inject', 'a', '--inject', 'b'], /^--inject: a and b would go to the same place/],
  [['--inject', ''], /^--inject: the path of the folder is empty/],
  [['--inject', ':/x'], /^--inject: the path of the folder is empty/],
  [['--inject', 'src:build'], /^--inject: "src:build": the path in the VM must be absolute/],
  [['--secret', 'NOPE'], /^--secret: NOPE is not set/],
  [['--from', 'before'], /^snapshot: "before" is not VM\/SNAPSHOT/],
  [['--from', 'a/b', '--image', 'builtin'], /^--image: the snapshot of --from brings its own/],
  [['--from', 'a/b', '--cpus', '2'], /^--cpus: the snapshot/],
  [['--from', 'a/b', '--auto-key', '--memory', '1G'], /^--memory: the snapshot/],
  [['--from', 'a/b', '--disk', '1G'], /^--disk: the snapshot/],
  [['--from', 'a/b', '--network', 'user'], /^--network: the snapshot/],
  [['--from', 'a/b', '--kernel', '/k'], /^--kernel: the snapshot/],
])('run %j is refused, with the reason, before anything is opened', async (flags, says) => {
  const { run, io, alcove } = testCli();
  expect(await run('--json', 'run', ...flags, '--', 'x')).toBe(2);
  const { error } = JSON.parse(io.stderr.text) as {
    error: { message: string; remedy: string; code: string };
  };
  expect(error.code).toBe('InvalidInput');
  expect(`${error.message} ${error.remedy}`).toMatch(says);
  expect(error.remedy).not.toBe('');
  expect(alcove.opened).toEqual([]);
});

test('a snapshot names no command', async () => {
  const { run, io } = testCli();
  expect(await run('run', '--from', 'web/before')).toBe(2);
  expect(io.stderr.text).toContain('no command given, and a snapshot names none');
});
