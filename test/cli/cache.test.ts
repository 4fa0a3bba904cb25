import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Explanation, InputChange, NearestEntry } from '../../src/executor/index.ts';
import { snapshotInfo } from './support/fake-alcove.ts';
import { cacheEntry } from './support/fake-executor.ts';
import { testCli } from './support/run-cli.ts';

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'cli-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  return dir;
}

const entries = [
  cacheEntry('3f2a', { name: 'build' }),
  cacheEntry('77ab', { hits: 0, durationMs: 900, lastUsedAtMs: 1_000_000 }),
];
const [build, other] = entries.map(({ key }) => key);

function cliWithEntries(options: Parameters<typeof testCli>[0] = {}) {
  const cli = testCli(options);
  cli.alcove.executor.entries = [...entries];
  return cli;
}

describe('cache ls', () => {
  test('shows what each saves', async () => {
    const { run, io } = cliWithEntries();
    expect(await run('cache', 'ls')).toBe(0);
    expect(io.stdout.text).toBe(
      [
        'KEY              NAME   SNAPSHOT        SIZE    TOOK  HITS  USED',
        'v1:3f2a00000000  build  run-3f2a/done  3 MiB  12.3 s     2  1 minute ago',
        'v1:77ab00000000  -      run-77ab/done  3 MiB   0.9 s     0  just now',
        '',
      ].join('\n'),
    );
  });

  test('prints only whole keys with -q, everything with --json, and what to do when there is nothing', async () => {
    const names = cliWithEntries();
    await names.run('cache', 'ls', '-q');
    expect(names.io.stdout.text).toBe(`${build}\n${other}\n`);
    const json = cliWithEntries();
    await json.run('cache', 'ls', '--json');
    expect(json.json()).toEqual(entries);
    const none = testCli();
    expect(await none.run('cache', 'ls')).toBe(0);
    expect(none.io.stdout.text).toBe('');
    expect(none.io.stderr.text).toBe(
      'Nothing is cached. Cache something: alcove run --auto-key -- uname -a\n',
    );
    const noJson = testCli();
    await noJson.run('cache', 'ls', '--json');
    expect(noJson.json()).toEqual([]);
  });

  test('fits the terminal', async () => {
    const { run, io, alcove } = cliWithEntries({ terminals: ['stdout'], size: { rows: 20, columns: 60 } });
    alcove.executor.entries = [
      cacheEntry('1', { key: 'a key of a user that goes on and on, and on', name: 'n'.repeat(90) }),
    ];
    await run('cache', 'ls', '--no-color');
    for (const line of io.stdout.text.split('\n')) expect([...line].length).toBeLessThanOrEqual(60);
  });
});

describe('cache inspect', () => {
  test('shows what a key was made of, without secrets, and the end of its output, harmless', async () => {
    const { run, io, alcove } = cliWithEntries();
    alcove.executor.details = {
      parent: 'web/before',
      pinnedBy: ['step test'],
      history: { reason: 'failed', atMs: 940_000, detail: 'exit code 2' },
      stdout: Array.from({ length: 12 }, (_, i) => `line ${i + 1}\n`).join(''),
      stderr: 'careful\x1b[2J\n',
      inputs: {
        values: {
          command: { text: '["make"]' },
          'env.CC': { text: 'gcc' },
          'env.TOKEN': { digest: 'hmac:1234' },
          image: { text: `sha256:${'ab'.repeat(32)}` },
          'inject./src': { text: `sha256:${'cd'.repeat(32)}` },
        },
        trees: [
          {
            to: '/src',
            digest: `sha256:${'cd'.repeat(32)}`,
            entries: [{ path: 'a', kind: 'file', mode: 420 }],
          },
        ],
      },
    };
    expect(await run('cache', 'inspect', 'v1:3f')).toBe(0);
    expect(io.stdout.text).toBe(
      [
        `key       ${build}`,
        'name      build',
        'snapshot  run-3f2a/done',
        'parent    web/before',
        'size      3 MiB',
        'created   10 minutes ago',
        'used      1 minute ago',
        'hits      2',
        'took      12.3 s',
        'pinned    step test',
        'since     its last run failed 1 minute ago: exit code 2',
        '',
        'made of',
        '  command      ["make"]',
        '  env.CC       gcc',
        '  env.TOKEN    (hidden)',
        '  image        sha256:abababababab',
        '  inject /src  1 entries, sha256:cdcdcdcdcdcd',
        '',
        'stdout (last 10 of 12 lines)',
        ...Array.from({ length: 10 }, (_, i) => `  line ${i + 3}`),
        '',
        'stderr',
        '  careful[2J',
        '',
      ].join('\n'),
    );
  });

  test('of a key that is not there says so, and of one that nobody knows the inputs of, too', async () => {
    const { run, io } = cliWithEntries();
    expect(await run('cache', 'inspect', 'v1:9')).toBe(125);
    expect(io.stderr.text).toBe(
      'alcove: there is no cached result v1:9\n  List what is cached with `alcove cache ls`.\n',
    );
    await run('cache', 'inspect', 'v1:3f2a');
    expect(io.stdout.text).toContain('made of  what its caller knows');
  });
});

describe('cache rm', () => {
  test('takes the beginnings of keys, and one that is not there does not keep the others from their turn', async () => {
    const { run, io, alcove } = cliWithEntries();
    expect(await run('cache', 'rm', 'v1:9', 'v1:3f2a', 'v1:77')).toBe(125);
    expect(alcove.calls).toEqual([
      ['cache.remove', [build]],
      ['cache.remove', [other]],
    ]);
    expect(io.stdout.text).toBe(`${build}\n${other}\n`);
    expect(io.stderr.text).toContain('there is no cached result v1:9');
  });

  test('--all removes all, at once', async () => {
    const { run, alcove, json } = cliWithEntries();
    expect(await run('cache', 'rm', '--all', '--json')).toBe(0);
    expect(alcove.calls).toEqual([['cache.remove', [build, other]]]);
    expect(json()).toEqual({ removed: [build, other] });
  });

  test.each([
    [[], 'key: none is given'],
    [['--all', 'k'], '--all: keys are given, too'],
  ])('%j is refused', async (args, says) => {
    const { run, io, alcove } = cliWithEntries();
    expect(await run('cache', 'rm', ...args)).toBe(2);
    expect(io.stderr.text).toContain(says);
    expect(alcove.opened).toEqual([]);
  });
});

test.each([
  [['--dry-run'], { dryRun: true }, '3 MiB would be free'],
  [['--max-age', '30d'], { unusedForMs: 30 * 86_400_000 }, '3 MiB freed'],
  [[], {}, '3 MiB freed'],
])('cache gc %j says what goes, and why', async (flags, options, end) => {
  const { run, io, alcove } = testCli();
  alcove.executor.gcReport = {
    removed: [
      { key: build ?? '', snapshot: 'run-3f2a/done', sizeBytes: 2 << 20, why: 'not used for 30 days' },
      { snapshot: 'run-9/done', sizeBytes: 1 << 20, why: 'no run needs it' },
    ],
    freedBytes: 3 << 20,
  };
  expect(await run('cache', 'gc', ...flags)).toBe(0);
  expect(alcove.calls).toEqual([['cache.gc', options]]);
  expect(io.stdout.text).toBe(
    [
      'KEY              SNAPSHOT        SIZE  WHY',
      'v1:3f2a00000000  run-3f2a/done  2 MiB  not used for 30 days',
      '-                run-9/done     1 MiB  no run needs it',
      '',
      end,
      '',
    ].join('\n'),
  );
  const quiet = testCli();
  quiet.alcove.executor.gcReport = alcove.executor.gcReport;
  await quiet.run('cache', 'gc', '-q');
  expect(quiet.io.stdout.text).toBe(`${build}\nrun-9/done\n`);
});

test('cache gc with nothing to do says so', async () => {
  const { run, io } = testCli();
  expect(await run('cache', 'gc')).toBe(0);
  expect(io.stdout.text).toBe('Nothing to remove.\n');
});

describe('cache export and import', () => {
  test('export writes a file of the named keys, or of all', async () => {
    const { run, io, alcove } = cliWithEntries();
    const file = join(folder(), 'c.alcove');
    expect(await run('cache', 'export', file, 'v1:77', 'v1:77ab')).toBe(0);
    expect(await run('cache', 'export', file)).toBe(0);
    expect(alcove.calls).toEqual([
      ['cache.export', [other]],
      ['cache.export', undefined],
    ]);
    expect(readFileSync(file, 'utf8')).toBe('a cache');
    expect(io.stdout.text).toBe(`${file}\n${file}\n`);
  });

  test('export goes to standard output, alone, and not to a terminal', async () => {
    const pipe = testCli();
    expect(await pipe.run('cache', 'export', '-', '--json')).toBe(0);
    expect(pipe.io.stdout.text).toBe('a cache');
    const terminal = testCli({ terminals: ['stdout'] });
    expect(await terminal.run('cache', 'export', '-')).toBe(2);
    expect(terminal.io.stderr.text).toContain('an archive is not shown on a terminal');
    expect(terminal.alcove.opened).toEqual([]);
  });

  test('a key that is not there leaves no file', async () => {
    const { run } = cliWithEntries();
    const file = join(folder(), 'c.alcove');
    expect(await run('cache', 'export', file, 'v1:9')).toBe(125);
    expect(() => readFileSync(file)).toThrow('ENOENT');
  });

  test('import prints what came in, and counts what was here', async () => {
    const { run, io, alcove } = testCli();
    alcove.executor.importReport = {
      added: [entries[0] as (typeof entries)[0]],
      kept: ['a', 'b'],
      skipped: [{ key: 'c', why: 'it was made on the memory backend' }],
    };
    const file = join(folder(), 'c.alcove');
    writeFileSync(file, 'bytes');
    expect(await run('cache', 'import', file)).toBe(0);
    expect(io.stdout.text).toBe(`${build}\n`);
    expect(io.stderr.text).toBe(
      '2 more were here already.\nc was left out: it was made on the memory backend.\n',
    );
    const piped = testCli();
    piped.io.stdin.end('piped');
    expect(await piped.run('cache', 'import', '-', '--json')).toBe(0);
    expect(piped.json()).toEqual({ added: [], kept: [], skipped: [] });
    expect([...alcove.calls, ...piped.alcove.calls]).toEqual([
      ['cache.import', 'bytes'],
      ['cache.import', 'piped'],
    ]);
  });

  test('import of a file that is not there says so', async () => {
    const { run, io } = testCli();
    expect(await run('cache', 'import', '/nowhere/x')).toBe(125);
    expect(io.stderr.text).toContain('alcove: cannot read /nowhere/x: ENOENT');
  });
});

describe('cache explain', () => {
  const key = build ?? '';
  const entry = entries[0] as (typeof entries)[0];
  const nearest = (changes: InputChange[]): NearestEntry => ({
    key: other ?? '',
    createdAtMs: 400_000,
    name: 'build',
    changes,
  });
  const changes: InputChange[] = [
    { input: 'env.CC', change: 'changed', before: 'gcc', after: 'clang' },
    { input: 'env.LANG', change: 'added', after: 'C' },
    { input: 'env.OLD', change: 'removed', before: 'x\ny' },
    { input: 'env.TOKEN', change: 'changed', secret: true },
    { input: 'inject./src/main.c', change: 'changed' },
    { input: 'inject./src/new.c', change: 'added' },
    {
      input: 'image',
      change: 'changed',
      before: `sha256:${'ab'.repeat(32)}`,
      after: `sha256:${'cd'.repeat(32)}`,
    },
  ];

  test.each<[string, Explanation, string[]]>([
    ['a hit', { verdict: 'hit', key, entry }, ['hit: made 10 minutes ago in 12.3 s, used 2 times since']],
    [
      'something never run',
      { verdict: 'miss', key, why: { reason: 'new' } },
      ['miss: nothing like it was run before'],
    ],
    [
      'changes',
      { verdict: 'miss', key, why: { reason: 'new' }, nearest: nearest(changes) },
      [
        'miss: 7 inputs differ from build (v1:77ab00000000), made 10 minutes ago',
        '  env.CC              gcc → clang',
        '  env.LANG            added: C',
        '  env.OLD             removed: x y',
        '  env.TOKEN           changed (hidden)',
        '  inject /src/main.c  content changed',
        '  inject /src/new.c   added',
        '  image               sha256:abababababab → sha256:cdcdcdcdcdcd',
      ],
    ],
    [
      'a failure before',
      {
        verdict: 'miss',
        key,
        why: { reason: 'gone', history: { reason: 'failed', atMs: 940_000, detail: 'exit code 2' } },
        nearest: nearest(changes),
      },
      ['miss: its last run failed 1 minute ago: exit code 2'],
    ],
    [
      'an eviction',
      { verdict: 'miss', key, why: { reason: 'gone', history: { reason: 'evicted', atMs: 940_000 } } },
      ['miss: its entry was evicted to make room 1 minute ago'],
    ],
    [
      'age',
      { verdict: 'miss', key, why: { reason: 'expired', entry, maxAgeMs: 300_000 } },
      ['miss: its result was made 10 minutes ago, and one over 5 min 0 s does not count'],
    ],
    [
      'a lost snapshot',
      { verdict: 'miss', key, why: { reason: 'snapshot gone', entry } },
      ['miss: it has an entry, whose snapshot is not there any more'],
    ],
  ])('says why: %s', async (_, explanation, lines) => {
    const { run, io, alcove } = testCli();
    alcove.executor.explanation = explanation;
    expect(await run('cache', 'explain', '--auto-key', '-e', 'CC=clang', '--', 'make')).toBe(0);
    expect(io.stdout.text).toBe([...lines, `key ${key}`, ''].join('\n'));
    expect(alcove.calls).toEqual([
      [
        'explain',
        { source: { image: 'builtin' }, command: ['make'], env: { CC: 'clang' } },
        { auto: 'forever' },
      ],
    ]);
    const json = testCli();
    json.alcove.executor.explanation = explanation;
    await json.run('cache', 'explain', '--auto-key', '--json', '--', 'make');
    expect(json.json()).toEqual(explanation);
  });

  test('shows no more changes than a screen holds, unless told to', async () => {
    const many = Array.from(
      { length: 10_000 },
      (_, i): InputChange => ({ input: `inject./f${i}`, change: 'added' }),
    );
    const { run, io, alcove } = testCli();
    alcove.executor.explanation = { verdict: 'miss', key, why: { reason: 'new' }, nearest: nearest(many) };
    await run('cache', 'explain', '--auto-key', '--', 'make');
    expect(io.stdout.text.split('\n')).toHaveLength(1 + 20 + 1 + 1 + 1);
    expect(io.stdout.text).toContain('  and 9980 more\n');
    const all = testCli();
    all.alcove.executor.explanation = alcove.executor.explanation;
    await all.run('cache', 'explain', '--auto-key', '--all-changes', '--', 'make');
    expect(all.io.stdout.text.split('\n')).toHaveLength(10_003);
  });

  test('fits the terminal, and does not let values drive it', async () => {
    const { run, io, alcove } = testCli({ terminals: ['stdout'], size: { rows: 20, columns: 50 } });
    const value = `\x1b[2J${'/bin:'.repeat(40)}`;
    alcove.executor.explanation = {
      verdict: 'miss',
      key,
      why: { reason: 'new' },
      nearest: nearest([{ input: 'env.PATH', change: 'changed', before: value, after: 'x' }]),
    };
    await run('cache', 'explain', '--auto-key', '--no-color', '--', 'make');
    const line = io.stdout.text.split('\n').find((text) => text.includes('env.PATH')) ?? '';
    expect([...line].length).toBeLessThanOrEqual(50);
    expect(line).not.toContain('\x1b');
  });

  test('without a key it is --auto-key that is meant, other policies included', async () => {
    const { run, alcove } = testCli();
    await run('cache', 'explain', '--', 'make');
    await run('cache', 'explain', '--ttl', '1h', '--', 'make');
    await run('cache', 'explain', '--cache', 'mine', '--', 'make');
    expect(alcove.calls.flatMap(([call, , policy]) => (call === 'explain' ? [policy] : []))).toEqual([
      { auto: 'forever' },
      { auto: { ttlMs: 3_600_000 } },
      { cache: 'mine' },
    ]);
  });

  test('refuses what run refuses', async () => {
    const { run } = testCli();
    expect(await run('cache', 'explain', '--auto-key', '-i', '--', 'make')).toBe(2);
    expect(await run('cache', 'explain', '--auto-key')).toBe(2);
  });
});

test('snapshots of the cache are listed only with --all', async () => {
  const { run, io, alcove } = testCli();
  alcove.snapshots = [
    snapshotInfo('web', 'one'),
    { ...snapshotInfo('run-1', 'done'), labels: { 'alcove.cache': build ?? '' } },
    { ...snapshotInfo('run-2', 'done'), labels: { 'alcove.cache': 'ephemeral' } },
  ];
  await run('snapshot', 'ls', '-q');
  expect(io.stdout.text).toBe('web/one\n');
  await run('snapshot', 'ls', '-q', '--all');
  expect(io.stdout.text).toBe('web/one\nweb/one\nrun-1/done\nrun-2/done\n');
  alcove.snapshots.shift();
  await run('snapshot', 'ls');
  expect(io.stderr.text).toBe('No snapshots, but 2 of the cache: --all. Make one: alcove vm snapshot VM\n');
});
