import { expect, test } from 'vitest';
import { vmInfo } from './support/fake-alcove.ts';
import { testCli } from './support/run-cli.ts';

test('vm create prints the id, and with --json the VM', async () => {
  const plain = testCli();
  expect(await plain.run('vm', 'create', '--id', 'web', '--memory', '512M', '-e', 'A=1', '--start')).toBe(0);
  expect(plain.io.stdout.text).toBe('web\n');
  expect(plain.alcove.calls).toEqual([
    ['create', { image: 'builtin', memoryMiB: 512, id: 'web', env: { A: '1' } }],
    ['start', 'web'],
  ]);
  const json = testCli();
  await json.run('vm', 'create', '--json');
  expect(json.json()).toEqual(vmInfo('made-up', { status: 'created' }));
});

test.each([
  ['start', ['start', 'a'], ['start', 'b'], 'running'],
  ['pause', ['pause', 'a'], ['pause', 'b'], 'paused'],
  ['resume', ['resume', 'a'], ['resume', 'b'], 'running'],
  ['destroy', ['destroy', 'a'], ['destroy', 'b'], 'destroyed'],
])('vm %s takes several VMs and shows them as they are then', async (verb, first, second, status) => {
  const { run, alcove, json } = testCli();
  alcove.vms = [vmInfo('a'), vmInfo('b')];
  expect(await run('vm', verb, 'a', 'b', '--json')).toBe(0);
  expect(alcove.calls).toEqual([first, second]);
  expect(json()).toEqual([
    vmInfo('a', { status: status as 'running' }),
    vmInfo('b', { status: status as 'running' }),
  ]);
});

test('one VM that fails does not keep the others from their turn', async () => {
  const { run, io, alcove } = testCli();
  alcove.vms = [vmInfo('a'), vmInfo('c')];
  expect(await run('vm', 'start', 'a', 'b', 'c')).toBe(125);
  expect(io.stdout.text).toBe('a\nc\n');
  expect(io.stderr.text).toContain('alcove: there is no VM b\n');
});

test('vm stop passes on --memory and --grace', async () => {
  const { run, alcove } = testCli();
  alcove.vms = [vmInfo('a')];
  await run('vm', 'stop', '--memory', '--grace', '500ms', 'a');
  expect(alcove.calls).toEqual([['stop', 'a', { memory: true, graceMs: 500 }]]);
});

test('vm snapshot prints the full name', async () => {
  const { run, io, alcove } = testCli();
  alcove.vms = [vmInfo('web')];
  await run('vm', 'snapshot', 'web', '--id', 'before');
  expect(io.stdout.text).toBe('web/before\n');
});

test('vm restore makes a VM from a snapshot', async () => {
  const { run, io, alcove } = testCli();
  await run('vm', 'restore', 'web/before', '--id', 'web-2', '--label', 'a=1', '--start');
  expect(io.stdout.text).toBe('web-2\n');
  expect(alcove.calls).toEqual([
    ['restore', 'web/before', { id: 'web-2', labels: { a: '1' } }],
    ['start', 'web-2'],
  ]);
});

test('vm fork shows each VM, and says which could not be made', async () => {
  const { run, io, alcove, json } = testCli();
  alcove.vms = [vmInfo('web')];
  expect(await run('vm', 'fork', 'web', '--id', 'x', '--id', 'full', '--json')).toBe(125);
  expect(alcove.calls).toEqual([['fork', 'web', 2, { ids: ['x', 'full'], start: 'yes' }]]);
  expect(json()).toEqual([
    { id: 'x', vm: vmInfo('x') },
    {
      id: 'full',
      error: {
        code: 'AtCapacity',
        message: 'no room for another VM',
        remedy: 'Destroy VMs that are not needed, or raise the limit.',
        details: { limit: 'vms', max: 1, asked: 1, taken: 1 },
      },
    },
  ]);
  expect(io.stderr.text).toContain('"AtCapacity"');
});

test('vm fork -n', async () => {
  const { run, io, alcove } = testCli();
  alcove.vms = [vmInfo('web')];
  expect(await run('vm', 'fork', 'web', '-n', '2', '--no-start')).toBe(0);
  expect(io.stdout.text).toBe('web-1\nweb-2\n');
  expect(alcove.calls).toEqual([['fork', 'web', 2, { ids: undefined, start: 'no' }]]);
});

test('vm ls as a table, as ids and as JSON', async () => {
  const vms = [vmInfo('web'), vmInfo('db', { status: 'stopped', reason: 'killed', createdAtMs: 0 })];
  const table = testCli();
  table.alcove.vms = vms;
  await table.run('vm', 'ls');
  expect(table.io.stdout.text).toBe(
    [
      'ID   STATUS            IMAGE    CPUS   MEMORY  NETWORK  CREATED',
      'web  running           builtin     1  256 MiB  none     3 minutes ago',
      'db   stopped (killed)  builtin     1  256 MiB  none     16 minutes ago',
      '',
    ].join('\n'),
  );
  const ids = testCli();
  ids.alcove.vms = vms;
  await ids.run('vm', 'ls', '-q', '-a', '--label', 'job=7');
  expect(ids.io.stdout.text).toBe('web\ndb\n');
  expect(ids.alcove.calls).toEqual([['list', { labels: { job: '7' }, destroyed: 'include' }]]);
  const json = testCli();
  json.alcove.vms = vms;
  await json.run('vm', 'ls', '--json');
  expect(json.json()).toEqual(vms);
});

test('an empty list says what to do, on standard error', async () => {
  const { run, io } = testCli();
  expect(await run('vm', 'ls')).toBe(0);
  expect(io.stdout.text).toBe('');
  expect(io.stderr.text).toBe('No VMs. Make one: alcove vm create --start\n');
  const json = testCli();
  await json.run('vm', 'ls', '--json');
  expect(json.json()).toEqual([]);
});

test('a table fits the terminal', async () => {
  const { run, io, alcove } = testCli({ terminals: ['stdout'], size: { rows: 24, columns: 60 } });
  alcove.vms = [
    vmInfo('a-rather-long-name-of-a-machine', {
      status: 'stopped',
      reason: 'QEMU was killed by \x1b[31mSIGKILL',
    }),
  ];
  await run('vm', 'ls');
  const lines = io.stdout.text.trimEnd().split('\n');
  for (const line of lines) expect([...line].length).toBeLessThanOrEqual(60);
  expect(io.stdout.text).toContain('…');
  expect(io.stdout.text).not.toContain('\x1b');
});

test('vm inspect for people and programs', async () => {
  const vm = vmInfo('web', { env: { A: '1' }, snapshots: ['s1'], from: 'base/ready' });
  const people = testCli();
  people.alcove.vms = [vm];
  await people.run('vm', 'inspect', 'web');
  expect(people.io.stdout.text).toContain('status    running (1 minute ago)\n');
  expect(people.io.stdout.text).toContain('snapshot  web/s1\n');
  const json = testCli();
  json.alcove.vms = [vm];
  await json.run('vm', 'inspect', 'web', '--json');
  expect(json.json()).toEqual(vm);
});

test('vm inspect of a VM that is not there', async () => {
  const { run, io } = testCli();
  expect(await run('vm', 'inspect', 'nope', '--json')).toBe(125);
  expect(JSON.parse(io.stderr.text)).toEqual({
    error: {
      code: 'VmNotFound',
      message: 'there is no VM nope',
      remedy: 'List what exists with `alcove vm ls`.',
      details: { vmId: 'nope' },
    },
  });
});

test('vm logs prints the console', async () => {
  const { run, io, alcove } = testCli();
  alcove.vms = [vmInfo('web')];
  await run('vm', 'logs', 'web');
  expect(io.stdout.text).toBe('[    0.000000] Linux version\nagent ready\n');
});

test('a snapshot’s name has two parts', async () => {
  const { run, io, alcove } = testCli();
  expect(await run('vm', 'restore', 'before')).toBe(2);
  expect(io.stderr.text).toBe(
    'alcove: snapshot: "before" is not VM/SNAPSHOT\n  Names are listed by `alcove snapshot ls`.\n',
  );
  expect(alcove.opened).toEqual([]);
});
