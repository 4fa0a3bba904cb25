import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { configSchema, loadConfig } from '../config/index.ts';
import { isAlcoveError } from '../errors.ts';
import { builtinImage } from '../images/index.ts';
import type { SessionOptions } from '../sessions/index.ts';
import { defaultMachine, minimumDiskMiB, minimumMemoryMiB } from '../vm/index.ts';
import { sessionOptionsOf, sessionsOverrides } from './session-settings.ts';

const dir = mkdtempSync(join(tmpdir(), 'session-settings-'));
const file = join(dir, 'config.toml');
afterAll(() => rmSync(dir, { recursive: true }));

interface Said {
  toml?: string;
  env?: NodeJS.ProcessEnv;
  /** As from JavaScript, where no types hold. */
  asked?: object;
}

function load({ toml = '', env = {}, asked }: Said): SessionOptions {
  writeFileSync(file, toml);
  const sessions = sessionsOverrides(asked as Partial<SessionOptions>);
  const config = loadConfig({
    env: { HOME: '/home/me', ALCOVE_CONFIG: file, ...env },
    overrides: { sessions },
  });
  return sessionOptionsOf(config);
}

/** One value, as each way in writes it. */
interface Written {
  toml: string;
  env: string;
  option: unknown;
}
interface Case {
  key: string;
  option: keyof SessionOptions;
  fallback: unknown;
  /** With what the pool gets then. */
  good: [Written, becomes: unknown][];
  bad: [Written, rule: string][];
}

const same = (toml: string | number | boolean): Written => ({
  toml: JSON.stringify(toml),
  env: String(toml),
  option: toml,
});
/** Lists of strings are alike in TOML and JSON. */
const json = (list: unknown[]): Written => ({
  toml: JSON.stringify(list),
  env: JSON.stringify(list),
  option: list,
});
const table = (toml: string, value: object): Written => ({ toml, env: JSON.stringify(value), option: value });
/** What the environment cannot say: a string for a number is a number there. */
const words = (text: string): Written => ({ ...same(text), env: text });
const notFinite: [Written, string][] = ['inf', 'nan'].map((toml) => [
  { toml, env: toml, option: toml === 'nan' ? Number.NaN : Number.POSITIVE_INFINITY },
  '',
]);

const duration = (key: string, option: keyof SessionOptions, fallback: unknown, extra?: string): Case => ({
  key,
  option,
  fallback,
  good: [
    [{ toml: '90', env: '90', option: 90_000 }, 90_000],
    [{ toml: '0.25', env: '0.25', option: 250 }, 250],
    [{ toml: '1.001', env: '1.001', option: 1001 }, 1001],
    [{ toml: '1e3', env: '1e3', option: 1e6 }, 1e6],
  ],
  bad: [
    [same(0), 'must be greater than 0'],
    [same(-1), 'must be greater than 0'],
    [same(1e300), 'must be at most'],
    [words('soon'), 'must be a number greater than 0'],
    [same(true), 'must be a number greater than 0'],
    ...notFinite,
    ...(extra === undefined
      ? []
      : ([[{ toml: '90', env: '90', option: 90_000 }, extra]] as [Written, string][])),
  ],
});
const whole = (key: string, option: keyof SessionOptions, fallback: number, least: number): Case => ({
  key,
  option,
  fallback,
  good: [
    [same(least), least],
    [same(fallback + 1), fallback + 1],
  ],
  bad: [...new Set([0, -1, least - 1, least + 0.5, 'many', true])]
    .map((value): [Written, string] => [same(value), `must be a whole number, at least ${least}`])
    .concat(notFinite),
});
const oneOf = (key: string, option: keyof SessionOptions, fallback: string, other: string): Case => ({
  key,
  option,
  fallback,
  good: [
    [same(fallback), fallback],
    [same(other), other],
  ],
  bad: [
    [same('maybe'), `must be "${fallback}" or "${other}"`],
    [same(1), `must be "${fallback}" or "${other}"`],
  ],
});
const noText: [Written, string][] = [
  [{ toml: '""', env: '\0', option: '' }, 'must'],
  [{ toml: '"a\\u0000b"', env: 'a\0b', option: 'a\0b' }, 'must have no NUL'],
];

const cases: Case[] = [
  {
    key: 'enabled',
    option: 'enabled',
    fallback: true,
    good: [
      [same(true), true],
      [same(false), false],
      [{ ...same(true), env: '1' }, true],
      [{ ...same(false), env: '0' }, false],
    ],
    bad: [
      [words('yes'), 'must be true or false'],
      [same(2), 'must be true or false'],
    ],
  },
  {
    key: 'image',
    option: 'image',
    fallback: builtinImage,
    good: [
      [same('debian:12'), 'debian:12'],
      [same('42'), '42'],
    ],
    bad: [...noText, [same('a'.repeat(1025)), 'must have at most 1024 characters']],
  },
  whole('max_vms', 'maxVms', 32, 1),
  {
    key: 'shell',
    option: 'shell',
    fallback: '/bin/sh',
    good: [
      [same('/bin/bash'), '/bin/bash'],
      [same('bash'), 'bash'],
    ],
    bad: [...noText, [same('bin/sh'), 'must be an absolute path, or a name']],
  },
  {
    key: 'shell_args',
    option: 'shellArgs',
    fallback: ['-lc'],
    good: [
      [json(['-e', '', '-c']), ['-e', '', '-c']],
      [json([]), []],
    ],
    bad: [
      [same('-lc'), 'must be'],
      [same(3), 'must be a list of strings'],
      [json(['a\0b']), 'must have no NUL'],
    ],
  },
  {
    key: 'env',
    option: 'env',
    fallback: {},
    good: [
      [
        table('{ A = "1", "b.c" = "x=y", D = "" }', { A: '1', 'b.c': 'x=y', D: '' }),
        { A: '1', 'b.c': 'x=y', D: '' },
      ],
      [table('{}', {}), {}],
    ],
    bad: [
      [same('A=1'), 'must be'],
      [json(['A']), 'must be a table of strings'],
    ],
  },
  duration('idle_shutdown_seconds', 'idleShutdownMs', 900_000),
  duration('prune_after_seconds', 'pruneAfterMs', 3_600_000),
  {
    ...duration('backup_after_seconds', 'backupAfterMs', undefined, 'needs a place for the backups'),
    // What is good, it is only beside a destination; that has its own test.
    good: [],
  },
  {
    key: 'backup_destination',
    option: 'backupDestination',
    fallback: undefined,
    good: [
      [same('/var/backups'), '/var/backups'],
      [same('~/backups'), '/home/me/backups'],
      [same('/a/~/b'), '/a/~/b'],
    ],
    bad: [
      ...noText,
      [same('backups'), 'must be an absolute path'],
      [same('./backups'), 'must be an absolute path'],
      [same('~you/backups'), 'must be an absolute path'],
    ],
  },
  whole('backup_keep', 'backupKeep', 3, 1),
  {
    key: 'bootstrap_command',
    option: 'bootstrapCommand',
    fallback: undefined,
    good: [
      [json(['make']), ['make']],
      [json(['make', '-C', '']), ['make', '-C', '']],
    ],
    bad: [
      [json([]), 'must be a list of strings: a program and its arguments'],
      [json(['']), 'must not be empty'],
      [json(['make', 'a\0b']), 'must have no NUL'],
      [same('make'), 'must be'],
    ],
  },
  duration('bootstrap_timeout_seconds', 'bootstrapTimeoutMs', 600_000),
  {
    key: 'nix_profile',
    option: 'nixProfile',
    fallback: undefined,
    good: [[same('/work#dev'), '/work#dev']],
    bad: noText,
  },
  oneOf('stop_mode', 'stopMode', 'suspend', 'shutdown'),
  duration('maintenance_interval_seconds', 'maintenanceIntervalMs', 60_000),
  {
    key: 'stop_idle_for_room',
    option: 'stopIdleForRoom',
    fallback: 'no',
    good: [
      [{ ...same(true), option: 'yes' }, 'yes'],
      [{ toml: 'false', env: '0', option: 'no' }, 'no'],
    ],
    bad: [[{ toml: '"yes"', env: 'yes', option: true }, 'must be']],
  },
  whole('cpus', 'cpus', defaultMachine.cpus, 1),
  whole('memory_mib', 'memoryMiB', defaultMachine.memoryMiB, minimumMemoryMiB),
  whole('disk_mib', 'diskMiB', defaultMachine.diskMiB, minimumDiskMiB),
  oneOf('network', 'network', defaultMachine.network, 'user'),
];

/** Every way in: how it says one key, what a wrong one is called, and where it is said to be. */
const ways: {
  way: string;
  say(test: Case, written: Written): Said;
  name(test: Case): string;
  where(test: Case): string;
}[] = [
  ...(['sessions', 'vm_pool'] as const).flatMap((section) => [
    {
      way: `[${section}]`,
      say: ({ key }: Case, { toml }: Written) => ({ toml: `[${section}]\n${key} = ${toml}` }),
      name: ({ key }: Case) => `${section}.${key}`,
      where: () => file,
    },
    {
      way: `ALCOVE_${section.toUpperCase()}_…`,
      say: ({ key }: Case, { env }: Written) => ({ env: { [variable(section, key)]: env } }),
      name: ({ key }: Case) => `${section}.${key}`,
      where: ({ key }: Case) => variable(section, key),
    },
  ]),
  {
    way: 'the library',
    say: ({ option }, written) => ({ asked: { [option]: written.option } }),
    name: ({ option }) => `sessions.${option}`,
    where: () => 'the options of openAlcove',
  },
];

function variable(section: string, key: string): string {
  return `ALCOVE_${section}_${key}`.toUpperCase();
}

test('the table here has every key and every option once', () => {
  const keys = Object.keys(configSchema.shape.sessions.unwrap().shape);
  expect(cases.map(({ key }) => key).sort()).toEqual(keys.sort());
  expect(new Set(cases.map(({ option }) => option)).size).toBe(cases.length);
});

test('with nothing said, every option has its default', () => {
  const expected = cases.filter(({ fallback }) => fallback !== undefined);
  const defaults = Object.fromEntries(expected.map(({ option, fallback }) => [option, fallback]));
  expect(load({})).toStrictEqual(defaults);
  const silent = Object.fromEntries(cases.map(({ option }) => [option, undefined]));
  expect(load({ asked: silent })).toStrictEqual(defaults);
  const empty = Object.fromEntries(cases.map(({ key }) => [variable('sessions', key), '']));
  expect(load({ env: empty, toml: '[vm_pool]' })).toStrictEqual(defaults);
});

describe.each(ways)('$way', ({ say, name, where }) => {
  const good = cases.flatMap((test) =>
    test.good.map(([written, becomes]) => ({ ...test, written, becomes })),
  );
  test.each(good)('$option = $becomes, and nothing else', ({ becomes, written, ...test }) => {
    expect(load(say(test, written))).toStrictEqual({ ...load({}), [test.option]: becomes });
  });

  const bad = cases.flatMap((test) => test.bad.map(([written, rule]) => ({ ...test, written, rule })));
  test.each(bad)('refuses $key = $written.toml', ({ written, rule, ...test }) => {
    const field = name(test);
    const error = refusal(say(test, written));
    // Inside of lists the path goes on.
    expect(`${error.field}.`).toContain(`${field}.`);
    expect(error.message).toContain(`${error.field} in ${where(test)}: `);
    expect(error.message).toContain(`: ${rule}`);
  });
});

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

function refusal(said: Said): { field: unknown; message: string } {
  try {
    load(said);
  } catch (error) {
    if (!isAlcoveError(error, 'InvalidInput')) throw error;
    return { field: error.details?.field, message: error.message };
  }
  throw new Error('it was not refused');
}
