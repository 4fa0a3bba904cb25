import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { z } from 'zod';
import { isAlcoveError } from '../errors.ts';
import { loadConfig } from './load-config.ts';
import { configSchema, environmentKeys } from './schema.ts';

const dir = mkdtempSync(join(tmpdir(), 'config-'));
afterAll(() => rmSync(dir, { recursive: true }));

function withFile(text: string, env: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const path = join(dir, 'config.toml');
  writeFileSync(path, text);
  return { ALCOVE_CONFIG: path, ...env };
}

test('with nothing said, every key has its default', () => {
  expect(loadConfig({ env: { HOME: dir } })).toEqual({
    backend: 'qemu',
    limits: { max_vms: 256 },
    warm: {
      pool: 'off',
      at_close: 'give-up',
      per_image: 1,
      per_shape: 1,
      per_snapshot: 1,
      max: 8,
      idle_ms: 600_000,
      min_free_memory_mib: 512,
      min_free_disk_mib: 1024,
    },
    cache: { max_entries: 64, max_mib: 20_480, reserved_mib: 1024 },
    sessions: {
      enabled: true,
      max_vms: 32,
      shell: '/bin/sh',
      shell_args: ['-lc'],
      env: {},
      idle_shutdown_seconds: 900,
      prune_after_seconds: 3600,
      backup_keep: 3,
      bootstrap_timeout_seconds: 600,
      stop_mode: 'suspend',
      maintenance_interval_seconds: 60,
      stop_idle_for_room: false,
      cpus: 1,
      memory_mib: 256,
      disk_mib: 2048,
      network: 'none',
    },
    qemu: { accel: 'auto' },
  });
});

test('the environment goes over the file, and an override over both', () => {
  const env = withFile('state_dir = "/file"\nbackend = "memory"\n[limits]\nmax_vms = 3\nmemory_mib = 512', {
    ALCOVE_MAX_VMS: '7',
    ALCOVE_STATE_DIR: '/environment',
  });
  const config = loadConfig({ env, overrides: { stateDir: '/flag' } });
  expect(config).toMatchObject({
    state_dir: '/flag',
    backend: 'memory',
    limits: { max_vms: 7, memory_mib: 512 },
  });
});

test('docs/config.md names every key and every variable', () => {
  const docs = readFileSync('docs/config.md', 'utf8');
  const keys = Object.entries(configSchema.shape).flatMap(([key, schema]) =>
    schema instanceof z.ZodPrefault
      ? Object.keys((schema.unwrap() as z.ZodObject).shape).map((below) => `${key}.${below}`)
      : [key],
  );
  expect(keys.length).toBeGreaterThan(10);
  for (const key of keys) expect(docs).toContain(`| \`${key}\` |`);
  for (const variable of Object.keys(environmentKeys)) expect(docs).toContain(`\`${variable}\``);
});

const refused: [name: string, env: () => NodeJS.ProcessEnv, field: string][] = [
  ['an unknown key', () => withFile('colour = 1'), 'colour'],
  ['an unknown key of a section', () => withFile('[limits]\nmax_vm = 1'), 'limits.max_vm'],
  ['a cache of no entries', () => withFile('[cache]\nmax_entries = 0'), 'cache.max_entries'],
  ['a cache of less than nothing', () => withFile('[cache]\nreserved_mib = -1'), 'cache.reserved_mib'],
  ['a limit of zero', () => withFile('[limits]\nmax_vms = 0'), 'limits.max_vms'],
  ['a number that is none', () => withFile('', { ALCOVE_MEMORY_MIB: 'lots' }), 'limits.memory_mib'],
  ['fewer than no machines', () => withFile('[warm]\nper_image = -1'), 'warm.per_image'],
  ['a pool that is neither on nor off', () => withFile('', { ALCOVE_WARM_POOL: 'yes' }), 'warm.pool'],
  [
    'a section that is none, though a variable sets a key of it',
    () => withFile('limits = 1', { ALCOVE_MAX_VMS: '7' }),
    'limits',
  ],
  ['an unknown accelerator', () => withFile('[qemu]\naccel = "hax"'), 'qemu.accel'],
];

test.each(refused)('%s is refused by name', (_name, env, field) => {
  const error = failure(() => loadConfig({ env: env() }));
  expect(isAlcoveError(error, 'InvalidInput') && error.details?.field).toBe(field);
  expect(error).toHaveProperty('message', expect.stringContaining(field));
});

test('a wrong override is not blamed on the file', () => {
  const error = failure(() => loadConfig({ env: withFile(''), overrides: { backend: 'xen' } }));
  expect(error).toHaveProperty('message', expect.stringContaining('backend in the flags or options: '));
});

test('a file that is no TOML, or is named and absent, is refused', () => {
  expect(failure(() => loadConfig({ env: withFile('= =') }))).toHaveProperty('code', 'InvalidInput');
  expect(failure(() => loadConfig({ env: { ALCOVE_CONFIG: '/nowhere.toml' } }))).toHaveProperty(
    'code',
    'InvalidInput',
  );
});

function failure(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error('it was not refused');
}
