import { isAbsolute } from 'node:path';
import { z } from 'zod';

/** Linux refuses a single argument or variable longer than 32 pages (MAX_ARG_STRLEN, execve(2)). */
const maximumArgumentLength = 131_071;
/** In ms, the longest is still a whole number that is exact. */
const maximumSeconds = Math.floor(Number.MAX_SAFE_INTEGER / 1000);

const withoutNul = (text: string) => !text.includes('\0');
const string = z.string('must be a string').refine(withoutNul, 'must have no NUL');
const filled = string.refine((text) => text !== '', 'must not be empty');
const argument = string.refine(
  (text) => text.length <= maximumArgumentLength,
  `must have at most ${maximumArgumentLength} characters`,
);

const boolean = z.boolean('must be true or false');
const wholeNumber = (least: number) => {
  const rule = `must be a whole number, at least ${least}`;
  return z.int(rule).min(least, rule);
};
/** Fractions are allowed. */
const seconds = z
  .number('must be a number greater than 0')
  .positive('must be greater than 0')
  .max(maximumSeconds, `must be at most ${maximumSeconds}`);

const listRule = 'must be a list of strings: a program and its arguments';
const programAndArguments = z
  .array(z.unknown(), listRule)
  .min(1, listRule)
  .pipe(z.tuple([filled], argument));

const environment = z
  .record(z.string(), argument, 'must be a table of strings')
  .superRefine((table, context) => {
    for (const name of Object.keys(table)) {
      const message = wrongName(name);
      if (message !== undefined) context.addIssue({ code: 'custom', path: [name], message });
    }
  });

function wrongName(name: string): string | undefined {
  if (name === '') return 'a variable needs a name';
  if (name.includes('=')) return 'the name of a variable must have no "="';
  return withoutNul(name) ? undefined : 'the name of a variable must have no NUL';
}

/**
 * The pool of sessions: `[sessions]`, or by its older name `[vm_pool]`. What each key does, `SessionOptions` says. A `~/` that
 * `backup_destination` begins with has been expanded before.
 */
export const sessionsSection = z
  .strictObject(
    {
      enabled: boolean.default(true),
      /** Default: the built-in one. */
      image: filled.max(1024, 'must have at most 1024 characters').optional(),
      max_vms: wholeNumber(1).default(32),
      shell: filled
        .refine((path) => !path.includes('/') || isAbsolute(path), 'must be an absolute path, or a name')
        .default('/bin/sh'),
      shell_args: z.array(argument, 'must be a list of strings').default(['-lc']),
      env: environment.default({}),
      idle_shutdown_seconds: seconds.default(900),
      prune_after_seconds: seconds.default(3600),
      backup_after_seconds: seconds.optional(),
      backup_destination: filled.refine(isAbsolute, 'must be an absolute path').optional(),
      backup_keep: wholeNumber(1).default(3),
      bootstrap_command: programAndArguments.optional(),
      bootstrap_timeout_seconds: seconds.default(600),
      nix_profile: filled.optional(),
      stop_mode: z.enum(['suspend', 'shutdown'], 'must be "suspend" or "shutdown"').default('suspend'),
      maintenance_interval_seconds: seconds.default(60),
      stop_idle_for_room: boolean.default(false),
      // The machine's defaults and least sizes are those of `src/vm`, which this folder may not know; `test/config` compares them.
      cpus: wholeNumber(1).default(1),
      memory_mib: wholeNumber(64).default(256),
      disk_mib: wholeNumber(16).default(2048),
      network: z.enum(['none', 'user'], 'must be "none" or "user"').default('none'),
    },
    { error: (issue) => (issue.code === 'invalid_type' ? 'must be a table' : undefined) },
  )
  .refine(
    (section) => section.backup_after_seconds === undefined || section.backup_destination !== undefined,
    {
      path: ['backup_after_seconds'],
      error: 'needs a place for the backups: set backup_destination too',
    },
  );

export type SessionsKey = keyof typeof sessionsSection.shape;

export function isSessionsKey(key: string): key is SessionsKey {
  return Object.hasOwn(sessionsSection.shape, key);
}
