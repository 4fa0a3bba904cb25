import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { OpenOptions } from '../../src/engine/alcove.ts';
import { AlcoveError } from '../../src/errors.ts';
import { vmInfo } from './support/fake-alcove.ts';
import { testCli } from './support/run-cli.ts';

describe('a command line that cannot be understood exits with 2 and says how to write it', () => {
  test.each([
    [['rnu'], "unknown command 'rnu'", 'Did you mean run?'],
    [['vm', 'lst'], "unknown command 'lst'", 'Did you mean ls?'],
    [['vm', 'ls', '--jsn'], "unknown option '--jsn'", 'Did you mean --json?'],
    [['run', '--imgae', 'x', '--', 'ls'], "unknown option '--imgae'", 'Did you mean --image?'],
    [['vm', 'inspect'], "missing required argument 'vm'", 'See the command with --help.'],
    [['vm', 'ls', 'web'], /^too many arguments for 'ls'/, 'See the command with --help.'],
    [['run', '--image'], "option '--image <image>' argument missing", 'See the command with --help.'],
    [['exec', 'web'], "missing required argument 'command'", 'See the command with --help.'],
    [
      ['run', '--cpus', 'two', '--', 'ls'],
      '--cpus: "two" is not a whole number from 1 to 256',
      'See the command with --help.',
    ],
    [
      ['run', '--memory', '512', '--', 'ls'],
      '--memory: "512" is not a size; write it like 512M, 1G or 1GiB',
      'See the command with --help.',
    ],
    [
      ['run', '--timeout', '10', '--', 'ls'],
      '--timeout: "10" is not a duration; write it like 500ms, 10s, 5m or 1h',
      'See the command with --help.',
    ],
    [['run', '--network', 'host', '--', 'ls'], '--network: "host" is not a network', 'Choose none or user.'],
    [
      ['run', '-w', 'tmp', '--', 'ls'],
      '--workdir: "tmp" is not an absolute path',
      'See the command with --help.',
    ],
    [
      ['run', '-e', 'NOPE', '--', 'ls'],
      '--env: NOPE is not set in your environment',
      'Write --env NOPE=VALUE.',
    ],
    [['--backend', 'xen', 'vm', 'ls'], '--backend: "xen" is not a backend', 'Choose qemu or memory.'],
    [
      ['vm', 'fork', 'web', '-n', '3', '--id', 'a'],
      '--count: 3 VMs, but 1 ids',
      'Give --id for each of them, or for none.',
    ],
    [
      ['cp', 'a', 'b'],
      'dst: neither side names a VM',
      'Write one side as VM:/PATH and the other as a path of this host.',
    ],
    [
      ['cp', 'web:etc/x', '.'],
      'src: "web:etc/x": the path in the VM must be absolute',
      'Write web:/etc/x, or ./web:etc/x for a file of this host.',
    ],
  ] as const)('%j', async (argv, message, remedy) => {
    const { run, io, alcove } = testCli();
    expect(await run('--json', ...argv)).toBe(2);
    const { error } = JSON.parse(io.stderr.text) as {
      error: { message: string; remedy: string; code: string };
    };
    expect(error.code).toBe('InvalidInput');
    expect(error.message).toEqual(typeof message === 'string' ? message : expect.stringMatching(message));
    expect(error.remedy).toBe(remedy);
    expect(io.stdout.text).toBe('');
    expect(alcove.opened, 'nothing is opened for a mistake').toEqual([]);
  });

  test('for people: one line and what to do', async () => {
    const { run, io } = testCli();
    expect(await run('rnu')).toBe(2);
    expect(io.stderr.text).toBe("alcove: unknown command 'rnu'\n  Did you mean run?\n");
  });

  test.each([[[]], [['vm']], [['image']], [['snapshot']], [['cache']], [['pipeline']]])(
    '%j alone shows its help',
    async (argv) => {
      const { run, io } = testCli();
      expect(await run(...argv)).toBe(2);
      expect(io.stderr.text).toContain('Usage: alcove');
      expect(io.stdout.text).toBe('');
    },
  );
});

const commands = [
  'run',
  'exec',
  'shell',
  'cp',
  'gc',
  'doctor',
  'version',
  ...[
    'create',
    'start',
    'stop',
    'pause',
    'resume',
    'snapshot',
    'fork',
    'restore',
    'destroy',
    'ls',
    'inspect',
    'logs',
    'du',
  ].map((name) => `vm ${name}`),
  ...['ls', 'tree', 'inspect', 'verify', 'export', 'import', 'rm'].map((name) => `snapshot ${name}`),
  ...['pull', 'import', 'ls', 'inspect', 'rm'].map((name) => `image ${name}`),
  ...['fill', 'ls', 'drop'].map((name) => `warm ${name}`),
  ...['ls', 'inspect', 'explain', 'rm', 'gc', 'export', 'import'].map((name) => `cache ${name}`),
  ...['run', 'explain'].map((name) => `pipeline ${name}`),
];

test.each(commands)('alcove %s --help has a description, examples and the global options', async (name) => {
  const { run, io } = testCli();
  expect(await run(...name.split(' '), '--help')).toBe(0);
  expect(io.stdout.text).toContain(`Usage: alcove ${name}`);
  expect(io.stdout.text).toContain('\nExamples:\n  $ ');
  expect(io.stdout.text).toContain('--state-dir <dir>');
  expect(io.stderr.text).toBe('');
});

test.each(commands)('the examples of alcove %s are understood', async (name) => {
  const help = testCli();
  await help.run(...name.split(' '), '--help');
  const examples = [...help.io.stdout.text.matchAll(/^ {2}\$ (.*)$/gm)].map((match) => match[1] ?? '');
  for (const example of examples) await expectUnderstood(example);
});

test.each(['README.md', 'docs/cli.md'])('the commands in %s are understood', async (page) => {
  const text = readFileSync(new URL(`../../${page}`, import.meta.url), 'utf8');
  const lines = [...text.matchAll(/^(?:npx )?(alcove .*?)(?:\s+#.*)?$/gm)].map((match) => match[1] ?? '');
  expect(lines.length).toBeGreaterThan(5);
  for (const line of lines) await expectUnderstood(line);
});

test('the help of vm snapshot says what becomes of memory', async () => {
  const { run, io } = testCli();
  await run('vm', 'snapshot', '--help');
  expect(io.stdout.text.replace(/\s+/g, ' ')).toContain('while it runs or is paused its memory too');
});

/** Parses a line as a shell would, and has the CLI go as far as opening the engine. */
async function expectUnderstood(example: string): Promise<void> {
  const line = /\balcove (.*?)(?: (?:\||<|&&) .*)?$/.exec(example)?.[1]?.replace(/\$\(.*\)/, 'web') ?? '';
  const words = (line.match(/'[^']*'|\S+/g) ?? []).map((word) => word.replace(/^'(.*)'$/, '$1'));
  const { run, io, alcove } = testCli();
  alcove.before = (call) => {
    if (call === 'open') throw new AlcoveError('StateUnusable', 'far enough');
  };
  await run('--lock-wait', '0s', ...words);
  expect(io.stderr.text, example).not.toMatch(/unknown|missing required|too many|InvalidInput|is not a/);
}

test('version in three spellings', async () => {
  const plain = testCli();
  expect(await plain.run('version')).toBe(0);
  expect(plain.io.stdout.text).toMatch(/^alcove \d+\.\d+\.\d+ \(node \d+/);
  const flag = testCli();
  expect(await flag.run('--version')).toBe(0);
  expect(flag.io.stdout.text).toMatch(/^\d+\.\d+\.\d+\n$/);
  const json = testCli();
  await json.run('version', '--json');
  expect(json.json()).toEqual({
    alcove: expect.any(String),
    node: process.versions.node,
    platform: expect.any(String),
  });
});

describe('global options', () => {
  test.each([
    [['--state-dir', '/a', '--backend', 'memory', 'vm', 'ls']],
    [['vm', 'ls', '--state-dir', '/a', '--backend', 'memory']],
    [['vm', '--state-dir', '/a', 'ls', '--backend', 'memory']],
  ])('%j', async (argv) => {
    const { run, alcove } = testCli();
    await run(...argv);
    expect(alcove.opened).toMatchObject([{ stateDir: '/a', backend: 'memory', lockWaitMs: 10_000 }]);
  });

  test('colours only on a terminal, and not with NO_COLOR or --no-color', async () => {
    const coloured = async (env: Record<string, string>, ...argv: string[]) => {
      const { run, io } = testCli({ terminals: ['stderr'], env });
      await run(...argv);
      return io.stderr.text.includes('\x1b[');
    };
    expect(await coloured({}, 'nope')).toBe(true);
    expect(await coloured({ NO_COLOR: '1' }, 'nope')).toBe(false);
    expect(await coloured({ TERM: 'dumb' }, 'nope')).toBe(false);
    expect(await coloured({}, '--no-color', 'nope')).toBe(false);
    expect(await coloured({}, '--no-color', 'vm', 'inspect', 'nope')).toBe(false);
    const { run, io } = testCli();
    await run('nope');
    expect(io.stderr.text).not.toContain('\x1b[');
  });
});

describe('another alcove has the state directory', () => {
  const locked = new AlcoveError('StateLocked', '/state is in use by another Alcove process (pid 4711)', {
    details: { root: '/state', pid: 4711 },
  });

  test('waits for it, and says whom it waits for', async () => {
    const { run, io, alcove } = testCli();
    alcove.before = (call, options) => {
      if (call !== 'open') return;
      const { onLocked } = options as OpenOptions;
      onLocked?.(locked);
      io.clock.advance(2500);
      onLocked?.(locked);
    };
    alcove.vms = [vmInfo('web')];
    expect(await run('vm', 'ls', '-a')).toBe(0);
    expect(io.stderr.text).toBe('waiting for another alcove to end (pid 4711) … 2.5 s\n');
  });

  test('gives up after --lock-wait', async () => {
    const { run, io, alcove } = testCli();
    alcove.before = (call) => {
      if (call === 'open') throw locked;
    };
    expect(await run('--lock-wait', '3s', 'vm', 'ls')).toBe(125);
    expect(alcove.opened.at(-1)?.lockWaitMs).toBe(3000);
    expect(io.stderr.text).toBe(
      'alcove: /state is in use by another Alcove process (pid 4711)\n  Wait for the process that is named (`--lock-wait` waits longer), or end it.\n',
    );
  });
});

describe('a defect', () => {
  const defect = (env: Record<string, string>) => {
    const cli = testCli({ env });
    cli.alcove.before = (call) => {
      if (call === 'list') throw new TypeError('x is not a function');
    };
    return cli;
  };

  test('shows no stack trace', async () => {
    const { run, io } = defect({});
    expect(await run('vm', 'ls')).toBe(125);
    expect(io.stderr.text).toBe(
      'alcove: x is not a function\n  This is a defect of Alcove; please report it.\n',
    );
  });

  test('shows it with ALCOVE_DEBUG=1', async () => {
    const { run, io } = defect({ ALCOVE_DEBUG: '1' });
    await run('vm', 'ls');
    expect(io.stderr.text).toMatch(/TypeError: x is not a function\n\s+at /);
  });
});
