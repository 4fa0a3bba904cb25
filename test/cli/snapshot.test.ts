import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { AlcoveError } from '../../src/errors.ts';
import { runTool } from '../../src/host/index.ts';
import type { LineageNode } from '../../src/vm/index.ts';
import { snapshotInfo, vmInfo } from './support/fake-alcove.ts';
import { testCli } from './support/run-cli.ts';

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'cli-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  return dir;
}

test('snapshots are listed with what they take, shown, and removed, the newest first', async () => {
  const { run, io, alcove } = testCli();
  alcove.snapshots = [snapshotInfo('web', 'one'), snapshotInfo('web', 'two')];
  await run('snapshot', 'ls', '--vm', 'web');
  expect(io.stdout.text).toBe(
    [
      'SNAPSHOT  KIND           SIZE    OWN  PARENT  CREATED',
      'web/one   disk+memory  22 MiB  1 MiB  -       just now',
      'web/two   disk+memory  22 MiB  1 MiB  -       just now',
      '',
    ].join('\n'),
  );
  await run('snapshot', 'inspect', 'web/one');
  expect(io.stdout.text).toContain('own       1 MiB that nothing else uses\n');
  expect(await run('snapshot', 'rm', 'web/one', 'web/nine', 'web/two')).toBe(0);
  expect(alcove.calls).toEqual([
    ['snapshots.list', { vmId: 'web' }],
    ['snapshots.list', undefined],
    ['snapshots.remove', 'web/two'],
    ['snapshots.remove', 'web/one'],
    ['snapshots.remove', 'web/nine'],
  ]);
  expect(io.stdout.text).toMatch(/web\/two\nweb\/one\nweb\/nine\n$/);
});

test('a snapshot that is needed is not removed, and it is said by whom', async () => {
  const { run, io, alcove } = testCli();
  alcove.before = (call, ref) => {
    if (call !== 'snapshots.remove' || ref !== 'web/one') return;
    throw new AlcoveError('SnapshotInUse', 'snapshot web/one is needed by snapshot web/two, VM web-2');
  };
  expect(await run('snapshot', 'rm', 'web/one', 'web/two')).toBe(125);
  expect(io.stderr.text).toBe(
    'alcove: snapshot web/one is needed by snapshot web/two, VM web-2\n  Remove what depends on it first.\n',
  );
  expect(io.stdout.text).toBe('web/two\n');
});

describe('the tree', () => {
  const snapshot = (id: string, children: LineageNode[]): LineageNode => ({
    kind: 'snapshot',
    snapshot: snapshotInfo('web', id),
    children,
  });
  const vm = (id: string): LineageNode => ({
    kind: 'vm',
    vm: { ...vmInfo(id), sizeBytes: 3 << 20, ownBytes: 2 << 20 },
    children: [],
  });
  const forest = [
    snapshot('a', [snapshot('b', [vm('web'), vm('x')]), snapshot('c', [vm('y')])]),
    vm('other'),
  ];

  test('is drawn with lines on a terminal that has them', async () => {
    const { run, io, alcove } = testCli({ terminals: ['stdout'], env: { LANG: 'en_GB.UTF-8' } });
    alcove.tree = forest;
    expect(await run('snapshot', 'tree', 'web')).toBe(0);
    expect(io.stdout.text).toBe(
      [
        'NAME       KIND         STATUS     OWN  SHARED  CREATED',
        'web/a      disk+memory           1 MiB  21 MiB  just now',
        '├─ web/b   disk+memory           1 MiB  21 MiB  just now',
        '│  ├─ web  vm           running  2 MiB   1 MiB  3 minutes ago',
        '│  └─ x    vm           running  2 MiB   1 MiB  3 minutes ago',
        '└─ web/c   disk+memory           1 MiB  21 MiB  just now',
        '   └─ y    vm           running  2 MiB   1 MiB  3 minutes ago',
        'other      vm           running  2 MiB   1 MiB  3 minutes ago',
        '',
      ].join('\n'),
    );
    expect(alcove.calls).toEqual([['snapshots.tree', { vmId: 'web' }]]);
  });

  test.each([
    ['in a file', { env: { LANG: 'en_GB.UTF-8' } }],
    ['on a terminal of another locale', { terminals: ['stdout' as const], env: { LANG: 'C' } }],
    [
      'where the locale is taken back',
      { terminals: ['stdout' as const], env: { LANG: 'C.UTF-8', LC_ALL: 'POSIX' } },
    ],
  ])('is plain %s', async (_, options) => {
    const { run, io, alcove } = testCli(options);
    alcove.tree = forest;
    await run('snapshot', 'tree');
    const names = io.stdout.text.split('\n').map((line) => line.slice(0, 10).trimEnd());
    expect(names.slice(1, -1)).toEqual([
      'web/a',
      '|- web/b',
      '|  |- web',
      '|  `- x',
      '`- web/c',
      '   `- y',
      'other',
    ]);
  });

  test('is given whole to programs, and as names with -q', async () => {
    const json = testCli();
    json.alcove.tree = forest;
    await json.run('snapshot', 'tree', '--json');
    expect(json.json()).toEqual(forest);
    const names = testCli();
    names.alcove.tree = forest;
    await names.run('snapshot', 'tree', '-q');
    expect(names.io.stdout.text).toBe('web/a\nweb/b\nweb\nx\nweb/c\ny\nother\n');
    const none = testCli();
    await none.run('snapshot', 'tree', 'nobody');
    expect(none.io.stderr.text).toBe('No VM nobody, and no snapshot of it.\n');
  });
});

test('verify prints which are right, and names what is damaged in the others', async () => {
  const { run, io, alcove } = testCli();
  alcove.before = (call, ref) => {
    if (call === 'snapshots.verify' && ref === 'web/b')
      throw new AlcoveError('SnapshotCorrupt', 'snapshot web/b is damaged: 0.qcow2 is gone');
  };
  expect(await run('snapshot', 'verify', 'web/a', 'web/b', 'web/c')).toBe(125);
  expect(io.stdout.text).toBe('web/a\nweb/c\n');
  expect(io.stderr.text).toContain('alcove: snapshot web/b is damaged: 0.qcow2 is gone\n');
});

describe('export', () => {
  test('writes a file whole, readable by its owner alone, and prints its name', async () => {
    const { run, io, alcove } = testCli();
    const dir = folder();
    const file = join(dir, 'x.alcove');
    expect(await run('snapshot', 'export', 'web/before', '-o', file)).toBe(0);
    expect(io.stdout.text).toBe(`${file}\n`);
    expect(readFileSync(file, 'utf8')).toBe('an archive');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    alcove.archive = ['another'];
    const json = testCli();
    json.alcove.archive = ['another'];
    await json.run('snapshot', 'export', 'web/before', '-o', file, '--json');
    expect(json.json()).toEqual({ ref: 'web/before', file, sizeBytes: 7 });
    expect(readFileSync(file, 'utf8')).toBe('another');
    expect(readdirSync(dir)).toEqual(['x.alcove']);
  });

  test('is called by the snapshot’s name where nothing else is said', async () => {
    const { run, io } = testCli();
    const dir = folder();
    const before = process.cwd();
    process.chdir(dir);
    try {
      await run('snapshot', 'export', 'web/before');
    } finally {
      process.chdir(before);
    }
    expect(io.stdout.text).toBe('web-before.alcove\n');
    expect(readdirSync(dir)).toEqual(['web-before.alcove']);
  });

  test('goes to standard output, and nothing else does', async () => {
    const { run, io } = testCli();
    expect(await run('snapshot', 'export', 'web/before', '-o', '-', '--json')).toBe(0);
    expect(io.stdout.text).toBe('an archive');
  });

  test('is not shown on a terminal', async () => {
    const { run, io, alcove } = testCli({ terminals: ['stdout'] });
    expect(await run('snapshot', 'export', 'web/before', '-o', '-')).toBe(2);
    expect(io.stderr.text).toContain('an archive is not shown on a terminal');
    expect(alcove.opened).toEqual([]);
  });

  test.each<[string, (cli: ReturnType<typeof testCli>) => void, number]>([
    ['fails', ({ alcove }) => void alcove.archive.push(new AlcoveError('SnapshotCorrupt', 'damaged')), 125],
    [
      'is interrupted',
      ({ alcove, io }) => {
        alcove.before = (call) => {
          if (call === 'snapshots.export') io.signal('SIGINT');
        };
      },
      130,
    ],
  ])('that %s leaves what was there before, and nothing beside it', async (_, prepare, code) => {
    const cli = testCli();
    const dir = folder();
    writeFileSync(join(dir, 'x'), 'before');
    prepare(cli);
    expect(await cli.run('snapshot', 'export', 'web/before', '-o', join(dir, 'x'))).toBe(code);
    expect(readdirSync(dir)).toEqual(['x']);
    expect(readFileSync(join(dir, 'x'), 'utf8')).toBe('before');
  });

  test.each([
    ['a folder', (dir: string) => dir, 'it is a folder'],
    ['a folder that is not there', (dir: string) => join(dir, 'no', 'x'), 'ENOENT'],
  ])('to %s is refused', async (_, place, says) => {
    const { run, io } = testCli();
    expect(await run('snapshot', 'export', 'web/before', '-o', place(folder()))).toBe(125);
    expect(io.stderr.text).toMatch(/^alcove: cannot write /);
    expect(io.stderr.text).toContain(says);
  });

  test('to a device leaves the device', async () => {
    const { run } = testCli();
    expect(await run('snapshot', 'export', 'web/before', '-o', '/dev/null')).toBe(0);
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
  });

  test('to a full disk says so, and leaves nothing', async () => {
    const { run, io, alcove } = testCli();
    const dir = join(folder(), 'small');
    mkdirSync(dir);
    await runTool('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', dir]);
    onTestFinished(async () => void (await runTool('umount', [dir])));
    alcove.archive = Array.from({ length: 40 }, () => 'x'.repeat(4096));
    expect(await run('snapshot', 'export', 'web/before', '-o', join(dir, 'x'))).toBe(125);
    expect(io.stderr.text).toContain(`alcove: cannot write ${join(dir, 'x')}: ENOSPC`);
    expect(readdirSync(dir)).toEqual([]);
  });
});

describe('import', () => {
  test('reads a file and prints what it is called here', async () => {
    const { run, io, alcove } = testCli();
    const file = join(folder(), 'x');
    writeFileSync(file, 'an archive');
    expect(await run('snapshot', 'import', file)).toBe(0);
    expect(await run('snapshot', 'import', file, '--as', 'a/b')).toBe(0);
    expect(io.stdout.text).toBe('web/before\na/b\n');
    expect(alcove.calls).toEqual([
      ['snapshots.import', 'an archive', undefined],
      ['snapshots.import', 'an archive', 'a/b'],
    ]);
  });

  test('reads standard input', async () => {
    const { run, io, alcove } = testCli();
    io.stdin.end('an archive');
    expect(await run('snapshot', 'import', '-')).toBe(0);
    expect(alcove.calls).toEqual([['snapshots.import', 'an archive', undefined]]);
  });

  test.each([
    ['a file that is not there', '/nowhere/x', 125, 'alcove: cannot read /nowhere/x: ENOENT'],
    ['a folder', '/', 125, 'alcove: cannot read /: EISDIR'],
  ])('of %s says so', async (_, file, code, says) => {
    const { run, io } = testCli();
    expect(await run('snapshot', 'import', file)).toBe(code);
    expect(io.stderr.text).toContain(says);
  });

  test('under a name that is none is refused before anything is opened', async () => {
    const { run, alcove } = testCli();
    expect(await run('snapshot', 'import', 'x', '--as', 'b')).toBe(2);
    expect(alcove.opened).toEqual([]);
  });
});
