import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { AlcoveError } from '../../src/errors.ts';
import type { SessionInfo } from '../../src/sessions/index.ts';
import { backupInfo, sessionInfo } from './support/fake-sessions.ts';
import { testCli } from './support/run-cli.ts';

const size = { rows: 24, columns: 60 };

const withoutMachine = ({ vmId, ...info }: SessionInfo): SessionInfo => info;

describe('alcove session ls', () => {
  test('shows each with its machine, when it was used, and what is backed up', async () => {
    const { run, io, alcove } = testCli();
    alcove.sessions.list = [
      sessionInfo('a', { leases: 1, waiting: 2 }),
      sessionInfo('b', { status: 'stopped', state: 'backed up', newestBackup: 'b-1' }),
      withoutMachine(sessionInfo('c', { status: 'removed', state: 'backed up' })),
      sessionInfo('d', { newestBackup: 'd-1' }),
      sessionInfo('e', { failedBackup: { attempts: 1, message: 'full', atMs: 1, nextAttemptAtMs: 2 } }),
    ];
    expect(await run('session', 'ls')).toBe(0);
    expect(io.stdout.text).toBe(
      `SESSION  STATUS                      MACHINE    USED          BACKED UP
a        active (in use, 2 waiting)  session-a  1 minute ago  no
b        stopped                     session-b  1 minute ago  yes
c        removed                     -          1 minute ago  yes
d        active                      session-d  1 minute ago  an earlier state
e        active                      session-e  1 minute ago  no (failed once)
`,
    );
  });

  test('fits the terminal', async () => {
    const { run, io, alcove } = testCli({ terminals: ['stdout'], size });
    alcove.sessions.list = [sessionInfo('7c9e6679-7425-40de-944b-e07fc1f90ae7')];
    expect(await run('session', 'ls')).toBe(0);
    for (const line of io.stdout.text.split('\n')) expect([...line].length).toBeLessThanOrEqual(60);
  });

  test('as JSON, as ids, and when there are none', async () => {
    const asJson = testCli();
    asJson.alcove.sessions.list = [sessionInfo('a')];
    expect(await asJson.run('session', 'ls', '--json')).toBe(0);
    expect(asJson.json()).toEqual([sessionInfo('a')]);
    const quiet = testCli();
    quiet.alcove.sessions.list = [sessionInfo('a'), sessionInfo('b')];
    expect(await quiet.run('session', 'ls', '-q')).toBe(0);
    expect(quiet.io.stdout.text).toBe('a\nb\n');
    const empty = testCli();
    expect(await empty.run('session', 'ls')).toBe(0);
    expect(empty.io.stdout.text).toBe('');
    expect(empty.io.stderr.text).toContain('alcove session exec ID');
  });
});

describe('alcove session inspect', () => {
  test('shows its backups, why the last one failed, and what the bootstrap command printed', async () => {
    const { run, io, alcove } = testCli();
    const failedBackup = { attempts: 2, message: 'no room', atMs: 940_000, nextAttemptAtMs: 1_060_000 };
    alcove.sessions.list = [sessionInfo('a', { failedBackup, newestBackup: backupInfo('a', 1).name })];
    alcove.sessions.backups = [backupInfo('a', 1), backupInfo('b', 1)];
    const bootstrap = {
      command: ['make', 'deps'] as const,
      stdout: 'one\n\x1b[31mtwo\n',
      stderr: '',
      durationMs: 4200,
      endedAtMs: 0,
    };
    alcove.sessions.details = { bootstrap };
    expect(await run('session', 'inspect', 'a')).toBe(0);
    expect(io.stdout.text).toBe(`id         a
status     active
machine    session-a
created    10 minutes ago
used       1 minute ago
leases     0
waiting    0
state      not backed up
newest     a-20260101T000000Z.tar.zst
failed     2 times, last 1 minute ago: no room; tried again in 1 min 0 s
bootstrap  make deps (4.2 s)

BACKUP                      MADE            SIZE  FILES  CONTENT
a-20260101T000000Z.tar.zst  3 minutes ago  3 MiB     12    9 MiB

bootstrap stdout
  one
  [31mtwo
`);
  });

  test('one that is not there', async () => {
    const { run, io } = testCli();
    expect(await run('session', 'inspect', 'nobody')).toBe(125);
    expect(io.stderr.text).toBe(
      'alcove: there is no session nobody\n  List what exists with `alcove session ls`.\n',
    );
  });
});

describe('several sessions', () => {
  test('stop: each is tried, and the exit code is the first failure’s', async () => {
    const { run, io, alcove } = testCli();
    alcove.sessions.list = [sessionInfo('a'), sessionInfo('b')];
    expect(await run('session', 'stop', '--shutdown', 'a', 'nobody', 'b')).toBe(125);
    expect(alcove.calls).toEqual([
      ['sessions.stop', 'a', 'shutdown'],
      ['sessions.stop', 'nobody', 'shutdown'],
      ['sessions.stop', 'b', 'shutdown'],
    ]);
    expect(io.stdout.text).toBe('a\nb\n');
    expect(io.stderr.text).toContain('there is no session nobody');
  });

  test('stop goes by the configuration, and shows them as they are then', async () => {
    const { run, alcove, json } = testCli();
    alcove.sessions.list = [sessionInfo('a')];
    expect(await run('session', 'stop', 'a', '--json')).toBe(0);
    expect(alcove.calls).toEqual([['sessions.stop', 'a', undefined]]);
    expect(json()).toMatchObject([{ id: 'a', status: 'stopped', stoppedAtMs: 1_000_000 }]);
  });

  test('rm says what stays', async () => {
    const { run, io, alcove } = testCli();
    alcove.sessions.list = [sessionInfo('a'), sessionInfo('b'), sessionInfo('c')];
    alcove.sessions.backups = [
      backupInfo('a', 1),
      backupInfo('a', 2),
      backupInfo('a', 3),
      backupInfo('b', 1),
    ];
    expect(await run('session', 'rm', 'a', 'b', 'c')).toBe(0);
    expect(alcove.calls.map(([, ...args]) => args)).toEqual([
      ['a', 'keep'],
      ['b', 'keep'],
      ['c', 'keep'],
    ]);
    expect(io.stdout.text).toBe('a\nb\nc\n');
    expect(io.stderr.text).toBe(
      'a: its 3 backups stay; the next use starts from the newest.\nb: its backup stays; the next use starts from it.\n',
    );
  });

  test('rm --backups leaves nothing, and --json says what is left', async () => {
    const { run, io, alcove, json } = testCli();
    alcove.sessions.list = [sessionInfo('a'), sessionInfo('b')];
    alcove.sessions.backups = [backupInfo('a', 1), backupInfo('b', 1)];
    expect(await run('session', 'rm', '--backups', 'a', '--json')).toBe(0);
    expect(alcove.calls).toContainEqual(['sessions.terminate', 'a', 'remove']);
    expect(json()).toEqual({ removed: [{ id: 'a', backups: [] }] });
    expect(io.stderr.text).toBe('');
  });

  test('rm --backups removes those of a session that was ended before, too', async () => {
    const { run, io, alcove } = testCli();
    alcove.sessions.list = [sessionInfo('b')];
    alcove.sessions.backups = [backupInfo('a', 1), backupInfo('a', 2), backupInfo('b', 1)];
    expect(await run('session', 'rm', '--backups', 'a')).toBe(0);
    expect(io.stdout.text).toBe('a\n');
    expect(alcove.sessions.backups).toEqual([backupInfo('b', 1)]);
    expect(await run('session', 'rm', '--backups', 'a')).toBe(125);
  });

  test('backup prints names, and one that fails is no success', async () => {
    const { run, io, alcove } = testCli();
    alcove.sessions.list = [sessionInfo('a'), sessionInfo('b')];
    alcove.before = (call, id) => {
      if (call === 'sessions.backup' && id === 'a') throw new AlcoveError('BackupFailed', 'the disk is full');
    };
    expect(await run('session', 'backup', 'a', 'b')).toBe(125);
    expect(io.stdout.text).toBe('b-20260109T000000Z.tar.zst\n');
    expect(io.stderr.text).toContain('the disk is full');
  });

  test('Ctrl-C ends it with 130, and those that were not begun are left alone', async () => {
    const { run, io, alcove } = testCli();
    alcove.sessions.list = [sessionInfo('a'), sessionInfo('b')];
    alcove.before = (call) => {
      if (call !== 'sessions.stop') return;
      io.signal('SIGINT');
      throw new AlcoveError('Cancelled', 'stopping was cancelled');
    };
    expect(await run('session', 'stop', 'a', 'b')).toBe(130);
    expect(alcove.calls).toHaveLength(1);
    expect(alcove.closed).toBe(1);
  });
});

describe('alcove session restore', () => {
  const restored = async (...args: string[]) => {
    const { run, alcove, io } = testCli();
    expect(await run('session', 'restore', 'web', ...args)).toBe(0);
    expect(io.stdout.text).toBe('web\n');
    return alcove.calls[0];
  };

  test('takes the newest backup, one by name, or a path as it is', async () => {
    expect(await restored()).toEqual(['sessions.restore', 'web', undefined]);
    expect(await restored('--from', 'x.tar.zst')).toEqual(['sessions.restore', 'web', 'x.tar.zst']);
    expect(await restored('--from', '../x.tar.zst')).toEqual(['sessions.restore', 'web', '../x.tar.zst']);
  });

  test('a name that is a file here is that file', async () => {
    const before = process.cwd();
    const dir = mkdtempSync(join(tmpdir(), 'restore-'));
    onTestFinished(() => {
      process.chdir(before);
      rmSync(dir, { recursive: true });
    });
    writeFileSync(join(dir, 'x.tar.zst'), '');
    process.chdir(dir);
    expect(await restored('--from', 'x.tar.zst')).toEqual(['sessions.restore', 'web', './x.tar.zst']);
  });
});

describe('alcove session maintain', () => {
  test('says what it did, and fails when something of it failed', async () => {
    const { run, io, alcove } = testCli();
    const failed = [{ sessionId: 'd', what: 'backup' as const, message: 'no\x1b room' }];
    alcove.sessions.report = { stopped: ['a'], backedUp: ['b'], pruned: ['c'], failed };
    expect(await run('session', 'maintain')).toBe(125);
    expect(io.stdout.text).toBe('stopped a\nbacked up b\nremoved the machine of c\n');
    expect(io.stderr.text).toBe('session d, backup: no room; it is tried again.\n');
  });

  test('is silent when nothing was due', async () => {
    const { run, io } = testCli();
    expect(await run('session', 'maintain')).toBe(0);
    expect(io.stdout.text + io.stderr.text).toBe('');
  });
});

test('alcove session stats shows places, counts and the latencies that there are', async () => {
  const { run, io } = testCli();
  expect(await run('session', 'stats')).toBe(0);
  expect(io.stdout.text).toContain('places             3 of 32 taken\n');
  expect(io.stdout.text).toContain('waiting            1 for a turn, 0 for a place\n');
  expect(io.stdout.text).toContain('backups made       4\n');
  expect(io.stdout.text).toMatch(/\n\nLATENCY +COUNT +MEAN\nacquire stopped +2 +0\.3 s\n$/);
});

describe('alcove session cp', () => {
  test('of a session that is not there does not make it', async () => {
    const { run, io, alcove } = testCli();
    expect(await run('session', 'cp', 'web:note', '.')).toBe(125);
    expect(io.stderr.text).toContain('there is no session web');
    expect(alcove.calls).toEqual([]);
  });

  test.each([
    ['./a', './b', 'neither side names a session'],
    ['web:a', '7C9E6679-7425-40DE-944B-E07FC1F90AE7:b', 'both sides name a session'],
  ])('%s %s', async (source, destination, message) => {
    const { run, io } = testCli();
    expect(await run('session', 'cp', source, destination)).toBe(2);
    expect(io.stderr.text).toContain(message);
  });

  test('reads below /work, with a lease that others may share', async () => {
    const { run, alcove } = testCli();
    alcove.sessions.list = [sessionInfo('web')];
    const asked: string[] = [];
    alcove.files = {
      stat: async (path: string) => {
        asked.push(path);
        throw new AlcoveError('GuestFile', 'not there', { details: { path, errno: 'ENOENT' } });
      },
    };
    expect(await run('session', 'cp', '--wait', '3s', 'web:site/log', './log')).toBe(125);
    expect(asked[0]).toBe(join('/work', 'site', 'log'));
    expect(alcove.calls).toEqual([
      ['acquire', 'web', { mode: 'shared', waitMs: 3000 }],
      ['released', 'web'],
    ]);
  });
});

describe('alcove backup', () => {
  test('ls lists those of one session, or all', async () => {
    const { run, io, alcove } = testCli();
    const { manifest, ...madeByHand } = backupInfo('b', 1);
    alcove.sessions.backups = [backupInfo('a', 2), madeByHand];
    expect(await run('backup', 'ls')).toBe(0);
    expect(io.stdout.text).toBe(`BACKUP                      MADE            SIZE  FILES  CONTENT
a-20260102T000000Z.tar.zst  3 minutes ago  3 MiB     12    9 MiB
b-20260101T000000Z.tar.zst  3 minutes ago  3 MiB      -        -
`);
    const one = testCli();
    one.alcove.sessions.backups = alcove.sessions.backups;
    expect(await one.run('backup', 'ls', 'b', '-q')).toBe(0);
    expect(one.io.stdout.text).toBe('b-20260101T000000Z.tar.zst\n');
    const none = testCli();
    expect(await none.run('backup', 'ls', 'c')).toBe(0);
    expect(none.io.stderr.text).toContain('No backups of session c');
  });

  test.each(['verify', 'rm'])('%s tries each, and the exit code is the first failure’s', async (verb) => {
    const { run, io, alcove } = testCli();
    const [first, second] = [backupInfo('a', 1), backupInfo('a', 2)];
    alcove.sessions.backups = [first, second];
    expect(await run('backup', verb, first.name, 'nothing', second.name)).toBe(125);
    expect(io.stdout.text).toBe(`${first.name}\n${second.name}\n`);
    expect(io.stderr.text).toContain('there is no backup nothing');
  });
});
