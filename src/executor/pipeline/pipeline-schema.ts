import { z } from 'zod';
import { minimumDiskMiB, minimumMemoryMiB } from '../../vm/index.ts';

/** What steps are called. */
export const stepNamePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

const withoutNul = (value: string) => !value.includes('\0');
const text = z.string('must be text').refine(withoutNul, 'must have no NUL');
const nonEmpty = text.min(1, 'must not be empty');
const guestPath = text.startsWith('/', 'must be absolute in the guest');
const count = z.int('must be a whole number');
const milliseconds = z.number('must be a number of milliseconds').positive('must be more than 0');
const onlyTrue = z.literal(true, 'must be true, or left out');

const environment = z.record(
  nonEmpty.refine((name) => !name.includes('='), 'must have no "=" in its name'),
  text,
  'must be an object of variables',
);

const snapshot = z
  .string('must be text')
  .regex(/^[a-z0-9][a-z0-9-]{0,62}\/[a-z0-9][a-z0-9-]{0,62}$/, 'must be <vm id>/<snapshot id>');

/** One object with all fields, not a union of objects: so a wrong field is named, and not that nothing fitted. */
const source = z
  .strictObject(
    { image: nonEmpty.optional(), snapshot: snapshot.optional(), step: nonEmpty.optional() },
    'must be { image }, { snapshot } or { step }',
  )
  .refine((from) => given(from) === 1, 'must have exactly one of image, snapshot and step');

const injection = z.strictObject(
  {
    from: nonEmpty,
    to: guestPath,
    ignore: z.enum(['gitignore', 'nothing'], 'must be "gitignore" or "nothing"').optional(),
    mirror: onlyTrue.optional(),
    owner: z
      .strictObject(
        { uid: count.nonnegative('must not be negative'), gid: count.nonnegative('must not be negative') },
        'must be { uid, gid }',
      )
      .optional(),
  },
  'must be { from, to }, or a list of those',
);

const limits = z.strictObject(
  {
    cpus: count.min(1, 'must be at least 1').optional(),
    memoryMiB: count.min(minimumMemoryMiB, `must be at least ${minimumMemoryMiB}`).optional(),
    diskMiB: count.min(minimumDiskMiB, `must be at least ${minimumDiskMiB}`).optional(),
    network: z.enum(['none', 'user'], 'must be "none" or "user"').optional(),
  },
  'must be an object',
);

const policyNames = '"none", "forever", { ttlMs }, { onChange } or { compose }';

const keyPolicyFields = {
  ttlMs: milliseconds.optional(),
  onChange: z.array(nonEmpty, 'must be a list of paths and globs').min(1, 'must name a path').optional(),
  base: nonEmpty.optional(),
  get compose() {
    return z.array(keyPolicy, 'must be a list of policies').min(1, 'must have a policy').optional();
  },
};

const keyPolicyObject = z
  .strictObject(keyPolicyFields, `must be ${policyNames}`)
  .refine(
    ({ ttlMs, onChange, compose }) => given({ ttlMs, onChange, compose }) === 1,
    `must be ${policyNames}`,
  )
  .refine(
    ({ base, onChange }) => base === undefined || onChange !== undefined,
    'has a base without onChange',
  );

const keyPolicy: z.ZodType = z.union(
  [z.enum(['none', 'forever']), keyPolicyObject],
  `must be ${policyNames}`,
);

const stepPolicyNames = `${policyNames.replace(' or ', ', ')} or { key }`;

const stepPolicy = z.union(
  [
    z.enum(['none', 'forever']),
    z
      .strictObject(
        { ...keyPolicyFields, key: nonEmpty.optional(), maxAgeMs: milliseconds.optional() },
        `must be ${stepPolicyNames}`,
      )
      .refine(
        ({ ttlMs, onChange, compose, key }) => given({ ttlMs, onChange, compose, key }) === 1,
        `must be ${stepPolicyNames}`,
      )
      .refine(
        ({ base, onChange }) => base === undefined || onChange !== undefined,
        'has a base without onChange',
      )
      .refine(
        ({ maxAgeMs, key }) => maxAgeMs === undefined || key !== undefined,
        'has a maxAgeMs without a key',
      ),
  ],
  `must be ${stepPolicyNames}`,
);

const stepFields = {
  from: source,
  command: z.union(
    [nonEmpty, z.array(text).min(1, 'must name a program')],
    'must be text, or a list of a program and its arguments',
  ),
  after: z.array(nonEmpty, 'must be a list of steps').optional(),
  cache: stepPolicy.optional(),
  env: environment.optional(),
  secrets: environment.optional(),
  workdir: guestPath.optional(),
  user: nonEmpty.optional(),
  timeoutMs: milliseconds.optional(),
  inject: z.union([injection, z.array(injection)], 'must be { from, to }, or a list of those').optional(),
  limits: limits.optional(),
  memory: onlyTrue.optional(),
  maxOutputBytes: count.nonnegative('must not be negative').optional(),
};

const pipelineFields = {
  steps: z
    .record(
      z
        .string()
        .regex(
          stepNamePattern,
          'must be called by 1 to 63 letters, digits, ".", "_" and "-", beginning with a letter or digit',
        ),
      z.strictObject(stepFields, 'must be an object with from and command'),
      'must be an object of steps by name',
    )
    .refine((steps) => Object.keys(steps).length > 0, 'must have a step'),
  name: nonEmpty.optional(),
  concurrency: count.min(1, 'must be at least 1').optional(),
  onFailure: z.enum(['stop', 'keep-going'], 'must be "stop" or "keep-going"').optional(),
  cache: keyPolicy.optional(),
  base: nonEmpty.optional(),
};

export const pipelineSchema = z.strictObject(pipelineFields, 'must be an object with steps');

function given(fields: Readonly<Record<string, unknown>>): number {
  return Object.values(fields).filter((value) => value !== undefined).length;
}

/** Fields by the name of the field that holds the object; of the pipeline itself under '', of a step under `steps`. */
export const knownFields: Readonly<Record<string, readonly string[]>> = {
  '': Object.keys(pipelineFields),
  steps: Object.keys(stepFields),
  from: Object.keys(source.shape),
  cache: [...Object.keys(keyPolicyFields), 'key', 'maxAgeMs'],
  compose: Object.keys(keyPolicyFields),
  inject: Object.keys(injection.shape),
  owner: ['uid', 'gid'],
  limits: Object.keys(limits.shape),
};
