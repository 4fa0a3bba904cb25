import { describe, expect, test } from 'vitest';
import { AlcoveError } from '../../src/errors.ts';
import { testCli } from './support/run-cli.ts';

describe('alcove run', () => {
  test('a command’s output goes out as it comes and its exit code is the CLI’s', async () => {
    const { run, io, alcove } = testCli();
    alcove.script = async ({ stdout, stderr }) => {
      await stdout(Uint8Array.of(0xff, 0x00, 0x0a));
      await stderr('oh\n');
      return 42;
    };
    expect(await run('run', '--', 'sh', '-c', 'exit 42')).toBe(42);
    expect(Buffer.concat(io.stdout.chunks)).toEqual(Buffer.from([0xff, 0x00, 0x0a]));
    expect(io.stderr.text).toBe('oh\n');
    expect(alcove.calls).toEqual([
      ['run', { image: 'builtin' }, { command: ['sh', '-c', 'exit 42'] }],
      ['destroyed'],
    ]);
    expect(alcove.closed).toBe(1);
  });

  test('every flag reaches the machine or the command', async () => {
    const { run, alcove } = testCli({ env: { TOKEN: 's3cret' } });
    const flags =
      '--image debian:12 --cpus 2 --memory 1G --disk 512M --network user --label a=1 --label b= -e X=y=z -e TOKEN -w /srv -u 1000:1000 --timeout 1.5s --boot-arg quiet';
    expect(await run('run', ...flags.split(' '), '--', 'ls', '-l', '--json')).toBe(0);
    expect(alcove.calls[0]).toEqual([
      'run',
      {
        image: 'debian:12',
        cpus: 2,
        memoryMiB: 1024,
        diskMiB: 512,
        network: 'user',
        labels: { a: '1', b: '' },
        bootArgs: ['quiet'],
      },
      {
        command: ['ls', '-l', '--json'],
        env: { X: 'y=z', TOKEN: 's3cret' },
        cwd: '/srv',
        user: '1000:1000',
        timeoutMs: 1500,
      },
    ]);
  });

  test('options after the command belong to the command', async () => {
    const { run, alcove } = testCli();
    await run('run', 'ls', '-t', '--help');
    expect(alcove.calls[0]).toEqual(['run', { image: 'builtin' }, { command: ['ls', '-t', '--help'] }]);
  });

  test('without a command it runs what the image names', async () => {
    const { run, alcove } = testCli();
    alcove.images = [
      {
        ...(alcove.images[0] as (typeof alcove.images)[0]),
        references: ['app'],
        config: { env: {}, entrypoint: ['/app'], command: ['--serve'] },
      },
    ];
    await run('run', '--image', 'app');
    expect(alcove.calls[1]).toEqual(['run', { image: 'app' }, { command: ['/app', '--serve'] }]);
  });

  test('without a command in line and image it is a usage error', async () => {
    const { run, io, alcove } = testCli();
    alcove.images = [
      { ...(alcove.images[0] as (typeof alcove.images)[0]), references: ['base'], config: { env: {} } },
    ];
    expect(await run('run', '--image', 'base')).toBe(2);
    expect(io.stderr.text).toBe(
      'alcove: command: no command given, and the image base names none\n  Write one after --, e.g. alcove run -- uname -a\n',
    );
  });

  test.each([
    ['CommandTimedOut', undefined, 124],
    ['CommandNotStarted', { errno: 'ENOENT' }, 127],
    ['CommandNotStarted', { errno: 'EACCES' }, 126],
    ['AtCapacity', { limit: 'vms', max: 1, asked: 1, taken: 1 }, 125],
    ['GuestUnreachable', undefined, 125],
  ] as const)('%s (%o) exits with %i', async (code, details, exit) => {
    const { run, io, alcove } = testCli();
    alcove.script = async () => {
      throw new AlcoveError(code, 'it went wrong', { details: details as never, remedy: 'Do this.' });
    };
    expect(await run('run', '--', 'x')).toBe(exit);
    expect(io.stderr.text).toBe('alcove: it went wrong\n  Do this.\n');
    expect(alcove.closed).toBe(1);
  });

  test('with -i standard input reaches the command, to its end', async () => {
    const { run, io, alcove } = testCli();
    let got = '';
    alcove.script = async ({ stdin }) => {
      for await (const chunk of stdin) got += Buffer.from(chunk).toString();
      return 0;
    };
    io.stdin.write('one ');
    io.stdin.end('two');
    expect(await run('run', '-i', '--', 'cat')).toBe(0);
    expect(got).toBe('one two');
    expect(alcove.calls[0]).toEqual(['run', { image: 'builtin' }, { command: ['cat'], stdin: 'pipe' }]);
  });

  test('a command that does not read its input ends all the same', async () => {
    const { run, io, alcove } = testCli();
    alcove.script = async ({ stdin }) => {
      await stdin[Symbol.asyncIterator]().next();
      return 3;
    };
    io.stdin.write('first');
    expect(await run('run', '-i', '--', 'head', '-c1')).toBe(3);
    expect(io.stdin.destroyed).toBe(false);
  });

  test('without -i standard input is not touched', async () => {
    const { run, io } = testCli();
    io.stdin.write('for somebody else');
    await run('run', '--', 'true');
    expect(io.stdin.read().toString()).toBe('for somebody else');
  });

  test('a slow reader holds up the command instead of filling memory', async () => {
    const { run, io, alcove } = testCli();
    io.stdout.hold();
    let written = 0;
    alcove.script = async ({ stdout }) => {
      for (; written < 100; written++) {
        await stdout(Buffer.alloc(1024));
        if (written === 0) queueMicrotask(() => undefined);
      }
      return 0;
    };
    const done = run('run', '--', 'yes');
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    const early = written;
    expect(early).toBeLessThan(3);
    expect(io.stdout.writableLength).toBeLessThan(4096);
    io.stdout.takeOne();
    io.stdout.release();
    expect(await done).toBe(0);
    expect(Buffer.concat(io.stdout.chunks).length).toBe(102_400);
  });

  test('when the reader of its output goes away, the run ends without a word', async () => {
    const { run, io, alcove } = testCli();
    io.stdout.break('EPIPE');
    alcove.script = async ({ stdout, signal }) => {
      while (!signal.aborted) await stdout('y\n');
      return 0;
    };
    expect(await run('run', '--', 'yes')).toBe(141);
    expect(io.stderr.text).toBe('');
    expect(alcove.calls.slice(1)).toEqual([['killed'], ['destroyed']]);
    expect(alcove.closed).toBe(1);
  });

  test('output that cannot be written is an error', async () => {
    const { run, io, alcove } = testCli();
    io.stdout.break('ENOSPC');
    alcove.script = async ({ stdout }) => {
      await stdout('data');
      return 0;
    };
    expect(await run('run', '--', 'x')).toBe(125);
    expect(io.stderr.text).toContain('alcove: cannot write standard output: write ENOSPC\n');
  });
});
