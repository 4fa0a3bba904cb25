/** Machines made ahead of need, over the command line: they wait between commands, and the next run takes one. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CommandLine } from './command-line.ts';

const cli = new CommandLine();
beforeAll(async () => {
  expect((await cli.run(['run', '--', 'true'])).code).toBe(0); // Kernel, image and template are there from now on.
});
afterAll(async () => {
  await cli.run(['warm', 'drop', '--all']);
  expect(cli.processes()).toEqual([]);
  await cli[Symbol.asyncDispose]();
});

const waiting = () => cli.json<{ id: string; kind: string }[]>(['warm', 'ls']);
const files = () => readdirSync(join(cli.stateDir, 'spares')).sort();
const run = (...args: string[]) =>
  cli.run(['run', ...args, '--', 'sh', '-c', 'hostname; cat /etc/machine-id; echo kept > /note']);

test('a run takes a machine that an earlier command made for its image, and it is gone afterwards', async () => {
  const [made] = await cli.json<{ id: string }[]>(['warm', 'fill', 'builtin']);
  expect(await waiting()).toMatchObject([{ id: made?.id, kind: 'image' }]);
  expect(cli.processes()).toHaveLength(1);
  const { code, stdout, stderr } = await run();
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^vm-[0-9a-f]+\n[0-9a-f]{32}\n$/);
  expect(await waiting()).toEqual([]);
  expect(files()).toEqual([]);
  expect(cli.processes()).toEqual([]);
});

test('two runs that take machines of one kind are two machines', async () => {
  await cli.json(['warm', 'fill', 'builtin', '--count', '2']);
  const first = await run();
  const second = await run();
  expect([first.code, second.code]).toEqual([0, 0]);
  expect(first.stdout).not.toBe(second.stdout);
  expect(await waiting()).toEqual([]);
});

test('a machine with a disk of another size is left alone, and one for any image is taken by a VM that was stopped', async () => {
  await cli.json(['warm', 'fill', 'builtin', '--disk', '1G']);
  await cli.json(['vm', 'create', '--id', 'web', '--start']);
  expect(await waiting()).toHaveLength(1);
  expect((await cli.run(['exec', 'web', '--', 'sh', '-c', 'echo kept > /note'])).code).toBe(0);
  await cli.json(['vm', 'stop', 'web']);
  const [any] = await cli.json<{ id: string; kind: string }[]>(['warm', 'fill']);
  expect(any).toMatchObject({ kind: 'shape' });
  await cli.json(['vm', 'start', 'web']);
  expect((await cli.run(['exec', 'web', '--', 'cat', '/note'])).stdout).toBe('kept\n');
  expect((await waiting()).map(({ id }) => id)).not.toContain(any?.id);
  await cli.json(['vm', 'destroy', 'web']);
  await cli.run(['warm', 'drop', '--all']);
  expect(files()).toEqual([]);
});

test('one whose process was killed meanwhile is missed by nobody', async () => {
  await cli.json(['warm', 'fill', 'builtin']);
  const [pid] = cli.processes();
  if (pid === undefined) throw new Error('no machine waits');
  process.kill(pid, 'SIGKILL');
  await expect.poll(() => cli.processes()).toEqual([]);
  expect((await run()).code).toBe(0);
  expect(await waiting()).toEqual([]);
  expect(files()).toEqual([]);
});

test.each([150, 400, 700, 1000, 1500])(
  'a fill that is killed after %i ms leaves whole machines, or nothing',
  async (ms) => {
    await cli.run(['warm', 'fill', 'builtin', '--count', '3'], {
      onStart: ({ kill }) => setTimeout(() => kill('SIGKILL'), ms),
    });
    const left = await waiting();
    expect(files()).toEqual(left.map(({ id }) => id).sort());
    expect(cli.processes()).toHaveLength(left.length);
    for (const _ of left) expect((await run()).code).toBe(0);
    expect(await waiting()).toEqual([]);
    expect(cli.processes()).toEqual([]);
  },
);

test('a drop of one that is not there says so', async () => {
  const { code, stderr } = await cli.run(['warm', 'drop', 'spare-none']);
  expect(code).toBe(125);
  expect(stderr).toContain('there is no warm machine spare-none');
});
