import { expect, test } from 'vitest';
import type { DiskUsage, GarbageReport } from '../../src/vm/index.ts';
import { builtin } from './support/fake-alcove.ts';
import { testCli } from './support/run-cli.ts';

const mib = 1 << 20;
const use = (size: number, own: number) => ({ sizeBytes: size * mib, ownBytes: own * mib });

const usage: DiskUsage = {
  vms: [
    { id: 'db', status: 'stopped', ...use(3, 1) },
    { id: 'web', status: 'running', ...use(30, 10) },
  ],
  snapshots: [
    { ref: 'web/a', state: 'whole', ...use(20, 0) },
    { ref: 'web/b', state: 'damaged', ...use(5, 5) },
  ],
  images: [{ digest: builtin.digest, references: ['builtin'], ...use(1, 1) }],
  templates: [
    {
      backend: 'qemu',
      name: 'abc',
      kind: 'template',
      of: '1 cpu, 256 MiB',
      lastUsedMs: 0,
      ...use(60, 60),
    },
  ],
  kernels: use(11, 11),
  spares: use(0, 0),
  rest: use(1, 1),
  totalBytes: 100 * mib,
};

test('vm du shows what takes the disk, shared and own, and the total once', async () => {
  const { run, io, alcove } = testCli();
  alcove.usage = usage;
  expect(await run('vm', 'du')).toBe(0);
  expect(io.stdout.text).toBe(
    [
      'KIND              NAME               OWN  SHARED',
      'vm                db               1 MiB   2 MiB',
      'vm                web             10 MiB  20 MiB',
      'snapshot          web/a              0 B  20 MiB',
      'damaged snapshot  web/b            5 MiB     0 B',
      'image             builtin          1 MiB     0 B',
      'template          1 cpu, 256 MiB  60 MiB     0 B',
      'kernels                           11 MiB     0 B',
      'the rest                           1 MiB     0 B',
      '',
      '100 MiB in all',
      '',
    ].join('\n'),
  );
  const json = testCli();
  json.alcove.usage = usage;
  await json.run('vm', 'du', '--json');
  expect(json.json()).toEqual(usage);
});

test('vm du of VMs shows them and their snapshots', async () => {
  const { run, io, alcove } = testCli();
  alcove.usage = usage;
  expect(await run('vm', 'du', 'web')).toBe(0);
  expect(io.stdout.text).toContain('web/b');
  expect(io.stdout.text).not.toContain('db');
  expect(io.stdout.text).toMatch(/\n\n15 MiB of their own\n$/);
  const json = testCli();
  json.alcove.usage = usage;
  await json.run('vm', 'du', 'db', '--json');
  expect(json.json()).toEqual({ vms: usage.vms.slice(0, 1), snapshots: [] });
  const unknown = testCli();
  unknown.alcove.usage = usage;
  expect(await unknown.run('vm', 'du', 'nobody')).toBe(125);
  expect(unknown.io.stderr.text).toContain('there is no VM nobody, and no snapshot of it');
});

const report: GarbageReport = {
  removed: [
    { kind: 'snapshot', name: 'web/b', why: 'its files are damaged: 0.qcow2', bytes: 5 * mib },
    { kind: 'kernel', name: builtin.digest, why: 'no VM and no snapshot boots it', bytes: 11 * mib },
  ],
  kept: [{ kind: 'template', name: 'abc', why: 'unused', bytes: 60 * mib, because: 'it is in use by now' }],
  freedBytes: 16 * mib,
};

test.each([
  [['--dry-run'], { dryRun: true }, '16 MiB would be free'],
  [[], {}, '16 MiB freed'],
  [['--max-age', '30d'], { unusedForMs: 30 * 86_400_000 }, '16 MiB freed'],
  [['--all', '--images'], { unusedForMs: 0, images: 'remove' }, '16 MiB freed'],
])('gc %j says what goes, why, and what that gives back', async (flags, options, end) => {
  const { run, io, alcove } = testCli();
  alcove.garbage = report;
  expect(await run('gc', ...flags)).toBe(0);
  expect(alcove.calls).toEqual([['collectGarbage', options]]);
  expect(io.stdout.text).toBe(
    [
      'KIND      NAME                   SIZE  WHY',
      'snapshot  web/b                 5 MiB  its files are damaged: 0.qcow2',
      'kernel    sha256:abababababab  11 MiB  no VM and no snapshot boots it',
      '',
      end,
      '',
    ].join('\n'),
  );
  expect(io.stderr.text).toBe('template abc stays: it is in use by now\n');
});

test('gc gives programs all of it, and says when there is nothing', async () => {
  const { run, json, alcove } = testCli();
  alcove.garbage = report;
  await run('gc', '--json');
  expect(json()).toEqual(report);
  const none = testCli();
  await none.run('gc');
  expect(none.io.stdout.text).toBe('Nothing to remove.\n');
});

test.each([
  [['--max-age', '7'], '--max-age: "7" is not an age; write it like 30m, 12h or 7d'],
  [['--max-age', '1y'], '--max-age: "1y" is not an age; write it like 30m, 12h or 7d'],
  [['--all', '--max-age', '7d'], '--all: it means any age, so --max-age says nothing'],
])('gc %j is refused', async (flags, message) => {
  const { run, io, alcove } = testCli();
  expect(await run('gc', ...flags)).toBe(2);
  expect(io.stderr.text).toContain(message);
  expect(alcove.opened).toEqual([]);
});
