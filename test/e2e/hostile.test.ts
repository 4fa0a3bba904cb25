/** Commands that do not want to end, in a real VM: the deadline holds, and nothing of them is left alive. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CommandLine } from './command-line.ts';

const cli = new CommandLine();
afterAll(() => cli[Symbol.asyncDispose]());

beforeAll(async () => {
  const started = await cli.run(['vm', 'create', '--id', 'victim', '--start']);
  expect(started.stderr).not.toMatch(/alcove:/);
  expect(started.code).toBe(0);
});

const commands: [name: string, script: string][] = [
  ['ignores TERM', 'trap "" TERM INT HUP; echo began; while :; do sleep 7001; done'],
  [
    'daemonises a grandchild that holds stdout',
    'echo began; (setsid sh -c "setsid sleep 7002" &) ; sleep 7003',
  ],
  ['is a fork bomb', 'echo began; bomb() { bomb | bomb & }; bomb; sleep 7004'],
  [
    'leaves its terminal and double-forks',
    'echo began; (trap "" TERM; (sleep 7005 & sleep 7006) &) & sleep 7007',
  ],
];

test.each(commands)('a command that %s ends at its deadline, with all it started', async (_name, script) => {
  const ended = await cli.run(['exec', '--timeout', '2s', 'victim', '--', 'sh', '-c', script]);
  expect(ended.stdout).toContain('began');
  expect(ended.code).toBe(124);
  const { stdout } = await cli.run(['exec', 'victim', '--', 'ps', '-o', 'pid,args']);
  const left = stdout.split('\n').filter((line) => /sleep 700|bomb/.test(line));
  expect(left).toEqual([]);
});

test('a command whose daemon holds stdout returns at once, and the daemon is ended', async () => {
  const ended = await cli.run(['exec', 'victim', '--', 'sh', '-c', 'setsid sleep 7008 & echo done']);
  expect(ended).toMatchObject({ code: 0, stdout: 'done\n' });
  const { stdout } = await cli.run(['exec', 'victim', '--', 'ps', '-o', 'args']);
  expect(stdout).not.toContain('sleep 7008');
});

test('a client that is killed takes its command with it', async () => {
  const killed = await cli.run(['exec', 'victim', '--', 'sh', '-c', 'echo began; exec sleep 7009'], {
    onStart: ({ kill }) => setTimeout(() => kill('SIGKILL'), 3000),
  });
  expect(killed.code).toBe(137);
  const { stdout } = await cli.run(['exec', 'victim', '--', 'ps', '-o', 'args']);
  expect(stdout).not.toContain('sleep 7009');
});
