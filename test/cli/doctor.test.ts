import { expect, test } from 'vitest';
import type { Diagnose } from '../../src/cli/commands/doctor.ts';
import type { DoctorReport, EngineFinding } from '../../src/engine/doctor.ts';
import { AlcoveError } from '../../src/errors.ts';
import { testCli } from './support/run-cli.ts';

const report: DoctorReport = {
  usable: false,
  checks: [
    { name: 'node', state: 'ok', found: '24.1.0' },
    {
      name: 'sqfstar',
      state: 'missing',
      found: 'not installed',
      remedy: 'apt-get install --yes squashfs-tools',
    },
  ],
};

function diagnosing(result: DoctorReport): { diagnose: Diagnose; seen: EngineFinding[] } {
  const seen: EngineFinding[] = [];
  return {
    seen,
    diagnose: async ({ engine }) => {
      seen.push(engine);
      return result;
    },
  };
}

test('shows each requirement with the command that mends it, and exits with 1 when VMs cannot run', async () => {
  const { run, io } = testCli(diagnosing(report));
  expect(await run('doctor')).toBe(1);
  expect(io.stdout.text).toBe(
    [
      'ok        node     24.1.0',
      'missing   sqfstar  not installed',
      '                   apt-get install --yes squashfs-tools',
      '',
      'VMs cannot run here before what is missing has been mended.',
      '',
    ].join('\n'),
  );
});

test('exits with 0 when they can, and gives the report as JSON', async () => {
  const usable = { usable: true, checks: [{ name: 'node', state: 'ok' as const, found: '24.1.0' }] };
  const { run, json } = testCli(diagnosing(usable));
  expect(await run('doctor', '--json')).toBe(0);
  expect(json()).toEqual(usable);
});

test('looks with the engine open, which has mended, and closes it', async () => {
  const { diagnose, seen } = diagnosing(report);
  const { run, alcove } = testCli({ diagnose });
  alcove.mended = ['removed the leftover VM x'];
  await run('doctor');
  expect(seen).toEqual([
    { state: 'open', alcove: expect.objectContaining({ mended: ['removed the leftover VM x'] }) },
  ]);
  expect(alcove.closed).toBe(1);
});

test('waits for nobody when another alcove is at work, and looks all the same', async () => {
  const { diagnose, seen } = diagnosing(report);
  const { run, alcove } = testCli({ diagnose });
  const locked = new AlcoveError('StateLocked', 'in use');
  alcove.before = () => {
    throw locked;
  };
  expect(await run('doctor')).toBe(1);
  expect(alcove.opened).toHaveLength(1);
  expect(seen).toEqual([{ state: 'closed', error: locked }]);
});

test('a failure of its own is an error, not a finding', async () => {
  const { run, io } = testCli({
    diagnose: async () => {
      throw new AlcoveError('Internal', 'broken');
    },
  });
  expect(await run('doctor')).toBe(125);
  expect(io.stderr.text).toContain('alcove: broken\n');
});
