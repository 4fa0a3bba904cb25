import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { configSchema } from '../../src/config/index.ts';
import { openAlcove } from '../../src/engine/index.ts';
import { file, load, refusal, type Said } from './session-settings-fixture.ts';

const nested: [name: string, said: Said, field: string, where: string][] = [
  ['a number in a list', { toml: '[sessions]\nshell_args = ["-l", 3]' }, 'sessions.shell_args.1', file],
  [
    'a list in a list',
    { toml: '[vm_pool]\nbootstrap_command = ["a", []]' },
    'vm_pool.bootstrap_command.1',
    file,
  ],
  [
    'a program that is none',
    { asked: { bootstrapCommand: [7] } },
    'sessions.bootstrapCommand.0',
    'the options',
  ],
  ['a number in a table', { toml: '[sessions.env]\nPORT = 80' }, 'sessions.env.PORT', file],
  ['null in a table', { env: { ALCOVE_VM_POOL_ENV: '{"A": null}' } }, 'vm_pool.env.A', 'ALCOVE_VM_POOL_ENV'],
  ['NUL in a variable', { asked: { env: { A: '\0' } } }, 'sessions.env.A', 'the options of openAlcove'],
  ['a variable without a name', { toml: '[sessions.env]\n"" = "x"' }, 'sessions.env.""', file],
  ['a name with "="', { toml: '[sessions.env]\n"A=B" = "x"' }, 'sessions.env."A=B"', file],
  ['a name with NUL', { asked: { env: { 'A\0': 'x' } } }, 'sessions.env."A\\u0000"', 'the options'],
  ['a section that is none', { toml: 'vm_pool = 3' }, 'vm_pool', file],
  [
    'a section that is none, though a variable sets a key of it',
    { toml: 'sessions = 3', env: { ALCOVE_SESSIONS_MAX_VMS: '3' } },
    'sessions',
    file,
  ],
  ['an unknown key', { toml: '[sessions]\nmax_vm = 3' }, 'sessions.max_vm', file],
  ['an unknown key of the older section', { toml: '[vm_pool]\nmax_vm = 3' }, 'vm_pool.max_vm', file],
  [
    'an unknown variable',
    { env: { ALCOVE_SESSIONS_MAX_VM: '3' } },
    'sessions.max_vm',
    'ALCOVE_SESSIONS_MAX_VM',
  ],
  ['an unknown option', { asked: { maxVm: 3 } }, 'sessions.maxVm', 'the options of openAlcove'],
  ['a key for an option', { asked: { max_vms: 3 } }, 'sessions.max_vms', 'the options of openAlcove'],
  [
    'what every object has',
    { asked: { constructor: 3 } },
    'sessions.constructor',
    'the options of openAlcove',
  ],
];

test.each(nested)('%s is refused by its whole path', (_name, said, field, where) => {
  const error = refusal(said);
  expect(error.field).toBe(field);
  expect(error.message).toContain(`${field} in ${where}`);
});

test('the environment goes over the file, the library over both, whichever name the file has for them', () => {
  for (const section of ['sessions', 'vm_pool']) {
    const toml = `[${section}]\nmax_vms = 1\nbackup_keep = 1\ncpus = 1\nenv = { A = "1" }`;
    const env = {
      ALCOVE_SESSIONS_MAX_VMS: '2',
      ALCOVE_VM_POOL_BACKUP_KEEP: '2',
      ALCOVE_SESSIONS_ENV: '{"B":"2"}',
    };
    expect(load({ toml, env, asked: { backupKeep: 3 } })).toMatchObject({
      maxVms: 2,
      backupKeep: 3,
      cpus: 1,
    });
    expect(load({ toml, env }).env).toEqual({ B: '2' });
  }
});

test('a wrong value that something goes over harms nothing', () => {
  expect(load({ toml: '[sessions]\nmax_vms = 0', asked: { maxVms: 2 } }).maxVms).toBe(2);
});

test('both names at once are refused, and both are named', () => {
  expect(refusal({ toml: '[sessions]\n[vm_pool]' }).message).toMatch(/vm_pool in .*config\.toml: .*sessions/);
  const env = { ALCOVE_SESSIONS_CPUS: '2', ALCOVE_VM_POOL_CPUS: '2' };
  const { message } = refusal({ env });
  for (const name of Object.keys(env)) expect(message).toContain(name);
});

test('a time for backups is good beside a destination, wherever each was said', () => {
  const toml = '[vm_pool]\nbackup_after_seconds = 1.5';
  expect(load({ toml, asked: { backupDestination: '/b' } })).toMatchObject({
    backupAfterMs: 1500,
    backupDestination: '/b',
  });
  const env = { ALCOVE_SESSIONS_BACKUP_DESTINATION: '/b' };
  expect(load({ env, asked: { backupAfterMs: 1 } }).backupAfterMs).toBe(1);
});

test('a time that the library gives comes back to the digit', () => {
  for (let ms = 0.125; ms < 1e12; ms = ms * 1.7 + 0.125) {
    const exact = Number(ms.toPrecision(14));
    expect(load({ asked: { idleShutdownMs: exact } }).idleShutdownMs).toBe(exact);
  }
});

test('what is no JSON is refused without being shown', () => {
  const { message } = refusal({ env: { ALCOVE_SESSIONS_ENV: '{"TOKEN": "hush' } });
  expect(message).toContain('sessions.env in ALCOVE_SESSIONS_ENV: must be JSON');
  expect(message).not.toContain('hush');
});

test('docs/config.md gives each key with its default', () => {
  const docs = readFileSync('docs/config.md', 'utf8');
  for (const [key, value] of Object.entries(configSchema.parse({}).sessions)) {
    const written =
      typeof value === 'number' ? value : `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;
    expect(docs).toContain(`| \`sessions.${key}\` | ${written} |`);
  }
});

test('a wrong option is refused before anything is opened', async () => {
  const stateDir = join(dirname(file), 'state');
  const opening = openAlcove({ stateDir, backend: 'memory', sessions: { maxVms: 0 } });
  await expect(opening).rejects.toMatchObject({
    code: 'InvalidInput',
    details: { field: 'sessions.maxVms' },
  });
  expect(existsSync(stateDir)).toBe(false);
});
