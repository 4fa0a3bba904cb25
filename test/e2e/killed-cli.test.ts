/** The CLI is killed with SIGKILL at many moments of its work; the next command finds and mends what is left. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CommandLine } from './command-line.ts';

const cli = new CommandLine();
afterAll(() => cli[Symbol.asyncDispose]());
beforeAll(async () => {
  expect((await cli.run(['run', '--', 'true'])).code).toBe(0); // Kernel and image are there from now on.
});

/** Moments after the start of the command, in ms: from before the engine opens to after the command began. */
const moments = [60, 200, 350, 500, 800, 1500, 2500, 4000];

test.each(moments)(
  'killed %i ms into a run, it leaves nothing that the next command does not mend',
  async (ms) => {
    await cli.run(['run', '--', 'sleep', '7100'], {
      onStart: ({ kill }) => setTimeout(() => kill('SIGKILL'), ms),
    });
    const doctor = await cli.run(['doctor']);
    expect(doctor.code).toBe(0);
    expect(cli.processes()).toEqual([]);
    expect(await cli.json(['vm', 'ls'])).toEqual([]);
    for (const folder of ['vms', 'snapshots', 'tmp'])
      expect(readdirSync(join(cli.stateDir, folder))).toEqual([]);
  },
);

test('killed during a snapshot, the VM runs on and nothing unlisted remains', async () => {
  expect((await cli.run(['vm', 'create', '--id', 'keeper', '--start'])).code).toBe(0);
  for (const ms of [150, 300, 450]) {
    await cli.run(['vm', 'snapshot', 'keeper', '--id', `s${ms}`], {
      onStart: ({ kill }) => setTimeout(() => kill('SIGKILL'), ms),
    });
    const listed = await cli.json<{ ref: string }[]>(['snapshot', 'ls']);
    expect(readdirSync(join(cli.stateDir, 'snapshots'))).toHaveLength(listed.length);
    const alive = await cli.run([
      'exec',
      'keeper',
      '--',
      'sh',
      '-c',
      `echo ${ms} >> /moments; tail -n 1 /moments`,
    ]);
    expect(alive).toMatchObject({ code: 0, stdout: `${ms}\n` });
  }
});

test('a VM outlives the command that started it, and is adopted by the next', async () => {
  const before = await cli.run(['exec', 'keeper', '--', 'cat', '/proc/sys/kernel/random/boot_id']);
  const after = await cli.run(['exec', 'keeper', '--', 'cat', '/proc/sys/kernel/random/boot_id']);
  expect(before.code).toBe(0);
  expect(after.stdout).toBe(before.stdout);
});

test('Ctrl-C ends a run cleanly, with its machine', async () => {
  const ended = await cli.run(['run', '--', 'sleep', '7101'], {
    onStart: ({ kill }) => setTimeout(() => kill('SIGINT'), 1500),
  });
  expect(ended.code).toBe(130);
  expect((await cli.json<{ id: string }[]>(['vm', 'ls'])).map(({ id }) => id)).toEqual(['keeper']);
});
