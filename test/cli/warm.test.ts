import { expect, test } from 'vitest';
import { AlcoveError } from '../../src/errors.ts';
import { spareInfo } from './support/fake-alcove.ts';
import { testCli } from './support/run-cli.ts';

test('warm fill prints the ids, and with --json what was made', async () => {
  const plain = testCli();
  plain.alcove.spares = [spareInfo('spare-1'), spareInfo('spare-2')];
  const flags = ['-n', '2', '--cpus', '2', '--memory', '512M', '--network', 'user'];
  expect(await plain.run('warm', 'fill', 'debian:12', ...flags)).toBe(0);
  expect(plain.io.stdout.text).toBe('spare-1\nspare-2\n');
  expect(plain.alcove.calls).toEqual([
    ['warm.fill', { image: 'debian:12', count: 2, cpus: 2, memoryMiB: 512, network: 'user' }],
  ]);
  const json = testCli();
  json.alcove.spares = [spareInfo('spare-1')];
  await json.run('warm', 'fill', 'builtin', '--json');
  expect(json.json()).toEqual([spareInfo('spare-1')]);
});

test.each([
  [['warm', 'fill'], {}],
  [['warm', 'fill', '--snapshot', 'web/before'], { snapshot: 'web/before' }],
])('%j asks for no image', async (argv, spec) => {
  const { run, alcove } = testCli();
  expect(await run(...argv)).toBe(0);
  expect(alcove.calls).toEqual([['warm.fill', spec]]);
});

test('what cannot be made is said, with the remedy', async () => {
  const { run, io, alcove } = testCli();
  alcove.before = (call) => {
    if (call !== 'warm.fill') return;
    const details = { limit: 'warm.max', max: 8, asked: 1, taken: 8 };
    throw new AlcoveError('AtCapacity', 'no room for another warm machine', {
      details,
      remedy: 'Drop some.',
    });
  };
  expect(await run('warm', 'fill', 'builtin')).toBe(125);
  expect(io.stderr.text).toContain('alcove: no room for another warm machine\n');
  expect(io.stderr.text).toContain('Drop some.');
});

test('warm ls shows what waits, and for what', async () => {
  const { run, io, alcove } = testCli();
  alcove.spares = [
    spareInfo('spare-1'),
    { ...spareInfo('spare-2', { kind: 'memory', memoryMiB: 512 }), snapshot: 'web/before' },
    spareInfo('spare-3', { kind: 'shape', filledBy: 'pool', network: 'user', createdAtMs: 999_000 }),
  ];
  expect(await run('warm', 'ls')).toBe(0);
  expect(io.stdout.text).toBe(
    [
      'ID       FOR         CPUS   MEMORY  NETWORK  MADE BY  CREATED',
      'spare-1  builtin        1  256 MiB  none     hand     3 minutes ago',
      'spare-2  web/before     1  512 MiB  none     hand     3 minutes ago',
      'spare-3  any image      1  256 MiB  user     pool     1 second ago',
      '',
    ].join('\n'),
  );
});

test('warm ls -q prints ids; with nothing it says what to do on standard error', async () => {
  const some = testCli();
  some.alcove.spares = [spareInfo('spare-1')];
  await some.run('warm', 'ls', '-q');
  expect(some.io.stdout.text).toBe('spare-1\n');
  const none = testCli();
  expect(await none.run('warm', 'ls')).toBe(0);
  expect(none.io.stdout.text).toBe('');
  expect(none.io.stderr.text).toContain('alcove warm fill builtin');
});

test('warm drop ends the named ones, or all', async () => {
  const named = testCli();
  expect(await named.run('warm', 'drop', 'spare-1', 'spare-2')).toBe(0);
  expect(named.alcove.calls).toEqual([
    ['warm.drop', ['spare-1']],
    ['warm.drop', ['spare-2']],
  ]);
  expect(named.io.stdout.text).toBe('spare-1\nspare-2\n');
  const all = testCli();
  all.alcove.spares = [spareInfo('spare-1')];
  expect(await all.run('warm', 'drop', '--all', '--json')).toBe(0);
  expect(all.alcove.calls).toEqual([['warm.drop', undefined]]);
  expect(all.json()).toEqual({ removed: ['spare-1'] });
});

test.each([
  [['warm', 'drop'], 'id: none is given'],
  [['warm', 'drop', '--all', 'spare-1'], '--all: ids are given, too'],
  [['warm', 'fill', '--count', '0'], '--count'],
  [['warm', 'fill', '--snapshot', 'web'], 'web'],
  [['warm', 'fill', '--label', 'a=1'], '--label'],
])('%j is refused', async (argv, message) => {
  const { run, io, alcove } = testCli();
  expect(await run(...argv)).toBe(2);
  expect(io.stderr.text).toContain(message);
  expect(alcove.calls).toEqual([]);
});
