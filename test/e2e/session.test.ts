/** Sessions over the command line, on real machines: each command is a process, and what one leaves the next finds. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SessionInfo } from '../../src/sessions/index.ts';
import { CommandLine } from './command-line.ts';
import { HostTerminals } from './host-terminal.ts';

const cli = new CommandLine();
const terminals = new HostTerminals({
  ALCOVE_STATE_DIR: cli.stateDir,
  TERM: 'xterm-256color',
  COLORTERM: 'truecolor',
  NO_COLOR: '1',
});
const here = mkdtempSync(join(tmpdir(), 'session-'));
const list = () => cli.json<SessionInfo[]>(['session', 'ls']);
const exec = (...words: string[]) => cli.run(['session', 'exec', 'web', '--', ...words]);
const size = { rows: 24, columns: 80 };

beforeAll(async () => {
  const first = await exec('echo kept > note; pwd');
  expect(first).toMatchObject({ code: 0, stdout: '/work\n' });
});
afterAll(async () => {
  await terminals[Symbol.asyncDispose]();
  const ids = (await list()).map(({ id }) => id);
  if (ids.length > 0) await cli.run(['session', 'rm', '--backups', ...ids]);
  expect(cli.processes()).toEqual([]);
  await cli[Symbol.asyncDispose]();
  rmSync(here, { recursive: true });
});

describe('alcove session exec', () => {
  test('finds the files that the one before left, in the same machine', async () => {
    expect(await exec('cat', 'note')).toMatchObject({ code: 0, stdout: 'kept\n' });
    expect(await list()).toMatchObject([{ id: 'web', status: 'active', state: 'not backed up' }]);
  });

  test.each<[string, string[], { code?: number; stdout?: string }]>([
    ['one argument is a shell line', ['echo a | tr a b; echo "$((1 + 1))"'], { stdout: 'b\n2\n' }],
    [
      'several arrive as they are',
      ['printf', '<%s>', 'a b', "it's", '$x `y`', '', '*', '-n', 'two\nlines', '"\\'],
      { stdout: '<a b><it\'s><$x `y`><><*><-n><two\nlines><"\\>' },
    ],
    ['the exit code is the command’s', ['exit 7'], { code: 7 }],
    ['a signal is 128 and its number', ['kill -9 $$'], { code: 137 }],
    ['a program that is not there is 127', ['/no/such', 'thing'], { code: 127 }],
  ])('%s', async (_name, words, expected) => {
    expect(await exec(...words)).toMatchObject({ code: 0, ...expected });
  });

  test('takes environment, directory, input and a time limit', async () => {
    const given = ['-e', 'A=1 2', '-w', '/tmp', '-i', '--timeout', '20s'];
    const ended = await cli.run(['session', 'exec', ...given, 'web', '--', 'echo "$A"; pwd; cat'], {
      input: 'typed\n',
    });
    expect(ended).toMatchObject({ code: 0, stdout: '1 2\n/tmp\ntyped\n' });
    expect((await cli.run(['session', 'exec', '--timeout', '200ms', 'web', '--', 'sleep 60'])).code).toBe(
      124,
    );
  });
});

describe('alcove session shell', () => {
  test('has the size and the colours of the terminal, follows it, and passes on Ctrl-C', async () => {
    const shell = await terminals.open(['session', 'shell', 'web'], size);
    await shell.shows(/a new shell in session web; Ctrl-\] detaches(.*\n)+.*# ?$/);
    shell.type('mine=still; stty size; echo $TERM-$COLORTERM; sleep 1000\r');
    await shell.shows(/^24 80\nxterm-256color-truecolor$/m);
    await shell.resize({ rows: 30, columns: 100 });
    shell.type('\x03');
    await shell.shows(/\^C/);
    shell.type('stty size\r');
    await shell.shows(/^30 100$/m);
    shell.type('\x1d');
    expect(await shell.exit()).toBe(0);
    expect(shell.text).toMatch(/it runs on\. Come back with: alcove session shell web\nleft as it was$/);
  });

  test('is found as it was left: its screen, its variables, in the new terminal’s size', async () => {
    const shell = await terminals.open(['session', 'shell', 'web'], { rows: 20, columns: 90 });
    await shell.shows(
      /back in the shell of session web(.*\n)+xterm-256color-truecolor\n(.*\n)+30 100\n.*# ?$/,
    );
    shell.type('echo $mine; stty size\r');
    await shell.shows(/^still\n20 90$/m);
    await shell.hangUp();
    expect(await shell.exit()).toBe(129);
  });

  test('outlives the terminal it was on, and the memory of its machine being stopped', async () => {
    expect((await cli.run(['session', 'stop', 'web'])).code).toBe(0);
    const shell = await terminals.open(['session', 'shell', 'web'], size);
    await shell.shows(/back in the shell.*\n(.*\n)+still\n20 90\n.*# ?$/);
    shell.type('echo $mine again; exit 3\r');
    expect(await shell.exit()).toBe(3);
    expect(shell.text).toMatch(/^still again\nleft as it was$/m);
  });

  test('when it has ended, the next one is new; Ctrl-D ends it', async () => {
    const shell = await terminals.open(['session', 'shell', 'web'], size);
    await shell.shows(/a new shell(.*\n)+.*# ?$/);
    shell.type('echo "<$mine>"\r');
    await shell.shows(/^<>$/m);
    shell.type('\x04');
    expect(await shell.exit()).toBe(0);
  });

  test('without a terminal says what to use in place of it', async () => {
    const ended = await cli.run(['session', 'shell', 'web']);
    expect(ended).toMatchObject({ code: 2, stdout: '' });
    expect(ended.stderr).toContain('alcove session exec web -- COMMAND');
  });
});

test('cp copies both ways, below /work', async () => {
  mkdirSync(join(here, 'site'));
  writeFileSync(join(here, 'site', 'page'), 'hello\n');
  expect((await cli.run(['session', 'cp', join(here, 'site'), 'web:'])).code).toBe(0);
  expect(await exec('cat', 'site/page')).toMatchObject({ stdout: 'hello\n' });
  expect((await cli.run(['session', 'cp', 'web:note', join(here, 'note')])).code).toBe(0);
  expect(readFileSync(join(here, 'note'), 'utf8')).toBe('kept\n');
  expect((await cli.run(['session', 'cp', 'nobody:note', here])).stderr).toContain(
    'there is no session nobody',
  );
  expect((await list()).map(({ id }) => id)).toEqual(['web']);
});

test('what was left in the background goes on after a stop, and not after a shutdown; files stay', async () => {
  const count = '(while :; do n=$((n + 1)); echo $n > c; mv c count; sleep 0.05; done) > /dev/null 2>&1 &';
  expect((await cli.run(['session', 'exec', '--background', 'web', '--', count])).code).toBe(0);
  const counted = async () => Number((await exec('cat count')).stdout);
  const stop = (...flags: string[]) => cli.json<SessionInfo[]>(['session', 'stop', ...flags, 'web']);
  expect(await stop()).toMatchObject([{ id: 'web', status: 'stopped' }]);
  expect(cli.processes()).toEqual([]);
  const before = await counted();
  expect(before).toBeGreaterThan(0);
  await expect.poll(counted).toBeGreaterThan(before);
  await stop('--shutdown');
  const last = await counted();
  expect(await exec('sleep 0.3; cat count note')).toMatchObject({ stdout: `${last}\nkept\n` });
});

test('a backup brings back what was changed since, also in another session, and outlives its own', async () => {
  const env = { ALCOVE_SESSIONS_BACKUP_DESTINATION: join(here, 'backups') };
  mkdirSync(env.ALCOVE_SESSIONS_BACKUP_DESTINATION);
  const run = (...args: string[]) => cli.run(args, { env });
  const made = await run('session', 'backup', 'web');
  expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^web-\d{8}T\d{6}Z\.tar\.zst\n$/) });
  const name = made.stdout.trim();
  expect(await run('backup', 'ls', '-q', 'web')).toMatchObject({ stdout: `${name}\n` });
  expect(await run('backup', 'verify', name)).toMatchObject({ code: 0, stdout: `${name}\n` });
  await exec('echo spoilt > note');
  expect(await run('session', 'restore', 'copy', '--from', name)).toMatchObject({
    code: 0,
    stdout: 'copy\n',
  });
  expect(await run('session', 'exec', 'copy', '--', 'cat', 'note')).toMatchObject({ stdout: 'kept\n' });
  expect(await exec('cat note')).toMatchObject({ stdout: 'spoilt\n' });
  const removed = await run('session', 'rm', 'copy', 'web');
  expect(removed).toMatchObject({ code: 0, stdout: 'copy\nweb\n' });
  expect(removed.stderr).toContain('web: its backup stays; the next use starts from it.');
  expect(await run('session', 'exec', 'web', '--', 'cat', 'note')).toMatchObject({ stdout: 'kept\n' });
});

test('rm ends a session; the next use of its id is a new one', async () => {
  const ended = await cli.run(['session', 'rm', 'web', 'nobody']);
  expect(ended).toMatchObject({ code: 125, stdout: 'web\n' });
  expect(ended.stderr).toContain('there is no session nobody');
  expect(await list()).toEqual([]);
  expect(cli.processes()).toEqual([]);
});
