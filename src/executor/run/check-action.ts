import { z } from 'zod';
import { AlcoveError } from '../../errors.ts';
import type { Action } from '../action.ts';
import { maxRetainedBytes } from './transcript.ts';

const text = z.string().refine((value) => !value.includes('\0'), 'must have no NUL');
const filled = text.min(1, 'must not be empty');
const absolute = filled.refine((path) => path.startsWith('/'), 'must be an absolute path');
const count = z.int('must be a whole number').positive('must be positive');
const id = z.int('must be a whole number').nonnegative('must not be negative');
const variable = filled.refine((name) => !name.includes('='), 'must have no "=" in its name');

/** One folder to copy in. */
export const injectionSchema = z.strictObject({
  from: filled,
  to: absolute,
  ignore: z.enum(['gitignore', 'nothing']).optional(),
  mirror: z.literal(true).optional(),
  owner: z.strictObject({ uid: id, gid: id }).optional(),
});

/** Everything of an action but its source. */
export const actionFields = {
  command: z.union(
    [filled, z.tuple([filled], text)],
    'must be a line for the shell, or a program and its arguments',
  ),
  env: z.record(variable, text).optional(),
  secrets: z.record(variable, text).optional(),
  workdir: absolute.optional(),
  user: filled.optional(),
  timeoutMs: count.optional(),
  inject: z.union([injectionSchema, z.array(injectionSchema)]).optional(),
  limits: z
    .strictObject({
      cpus: count.optional(),
      memoryMiB: count.optional(),
      diskMiB: count.optional(),
      network: z.enum(['none', 'user']).optional(),
    })
    .optional(),
  memory: z.literal(true).optional(),
  maxOutputBytes: id.max(maxRetainedBytes, `must be at most ${maxRetainedBytes}`).optional(),
};

const snapshotRef = z.templateLiteral([z.string().min(1), '/', z.string().min(1)]);
export const imageSource = z.strictObject({ image: filled });
export const snapshotSource = z.strictObject({ snapshot: snapshotRef });

const schema = z.strictObject({
  ...actionFields,
  source: z.union([imageSource, snapshotSource], 'must be { image } or { snapshot }'),
  name: filled.max(255).optional(),
});

/** @throws AlcoveError `InvalidInput`, naming the field */
export function checkAction(action: Action): void {
  const { error } = schema.safeParse(action);
  const [issue] = error?.issues ?? [];
  if (issue) {
    const unknown = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
    const field = [...issue.path, ...(unknown === undefined ? [] : [unknown])].join('.') || 'action';
    throw invalid(field, unknown === undefined ? deepest(issue) : 'is not known');
  }
  if (action.limits && 'snapshot' in action.source)
    throw invalid('limits', 'say nothing about a machine that starts from a snapshot: it brings its own');
  const twice = Object.keys(action.secrets ?? {}).find((name) => action.env && name in action.env);
  if (twice !== undefined) throw invalid(`secrets.${twice}`, 'is in env, too');
}

/** What is wrong inside a value that may have several shapes, where one of them is nearly met. */
function deepest(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'invalid_union') return issue.message;
  const inner = issue.errors.flat().find(({ path }) => path.length > 0);
  return inner ? `${inner.path.join('.')}: ${inner.message}` : issue.message;
}

function invalid(field: string, what: string): AlcoveError<'InvalidInput'> {
  return new AlcoveError('InvalidInput', `${field} ${what}`, { details: { field } });
}
