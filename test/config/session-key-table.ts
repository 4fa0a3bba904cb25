import { builtinImage } from '../../src/images/index.ts';
import type { SessionOptions } from '../../src/sessions/index.ts';
import { defaultMachine, minimumDiskMiB, minimumMemoryMiB } from '../../src/vm/index.ts';

/** One value, as each way in writes it. */
export interface Written {
  toml: string;
  env: string;
  option: unknown;
}
export interface Case {
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
    [same('soon'), 'must be a number greater than 0'],
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

/** Every key, its default, and what is good and bad for it. */
export const cases: Case[] = [
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
      [same('yes'), 'must be true or false'],
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
