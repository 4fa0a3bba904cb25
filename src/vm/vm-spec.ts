import { access, constants } from 'node:fs/promises';
import { z } from 'zod';
import { AlcoveError } from '../errors.ts';
import type { KernelRequest } from '../images/index.ts';
import type { HostFacts } from './host-facts.ts';
import { idPattern } from './ids.ts';
import type { RestoreSpec, VmSpec } from './vm.ts';

/** Smallest machine that is made: Debian's kernel and the agent do not come up in less. */
export const minimumMemoryMiB = 64;
/** Smallest writable layer that ext4 with a journal takes. */
export const minimumDiskMiB = 16;
/** x86 kernels cut their command line at 2048 bytes (COMMAND_LINE_SIZE); the backend's own arguments come first. */
const maximumBootArgsLength = 1024;
/** Linux refuses a single argument or variable longer than 32 pages (MAX_ARG_STRLEN, execve(2)). */
const maximumVariableLength = 131_071;

const withoutNul = (text: string) => !text.includes('\0');
const id = z.string().regex(idPattern, {
  error: ({ input }) =>
    `must be 1 to 63 of a-z, 0-9 and "-", not beginning with "-"; ${JSON.stringify(input)} is not`,
});
const name = z
  .string()
  .min(1, 'must not be empty')
  .max(255, 'must have at most 255 characters')
  .refine((key) => withoutNul(key) && !key.includes('='), 'must have no "=" and no NUL in its name');
const variable = z
  .string()
  .max(maximumVariableLength, `must have at most ${maximumVariableLength} characters`)
  .refine(withoutNul, 'must have no NUL');
const label = z
  .string()
  .max(1024, 'must have at most 1024 characters')
  .refine(withoutNul, 'must have no NUL');
const hostPath = z.string().min(1, 'must not be empty').refine(withoutNul, 'must have no NUL');
const bootArg = z
  .string()
  .min(1, 'must not be empty')
  .refine((arg) => ![...arg].some((c) => c < ' ' || c === '\x7f'), 'must have no control characters');
const count = z.int('must be a whole number');

/** Environment variables. */
export const environmentSchema = z.record(name, variable);
/** Arguments for the kernel. */
export const bootArgsSchema = z
  .array(bootArg)
  .refine(
    (args) => args.join(' ').length <= maximumBootArgsLength,
    `must have at most ${maximumBootArgsLength} characters together`,
  );

export const labelsSchema = z.record(name, label);

const restoreFields = {
  id: id.optional(),
  env: environmentSchema.optional(),
  labels: labelsSchema.optional(),
};

const restoreSchema = z.strictObject({
  ...restoreFields,
  memory: z.enum(['include', 'exclude'], 'must be "include" or "exclude"').optional(),
});

const vmSchema = z.strictObject({
  ...restoreFields,
  image: z
    .string()
    .min(1, 'must not be empty')
    .max(1024, 'must have at most 1024 characters')
    .refine(withoutNul, 'must have no NUL'),
  cpus: count.min(1, 'must be at least 1').optional(),
  memoryMiB: count.min(minimumMemoryMiB, `must be at least ${minimumMemoryMiB}`).optional(),
  diskMiB: count.min(minimumDiskMiB, `must be at least ${minimumDiskMiB}`).optional(),
  network: z.enum(['none', 'user'], 'must be "none" or "user"').optional(),
  kernel: hostPath.optional(),
  modules: hostPath.optional(),
  initramfs: hostPath.optional(),
  bootArgs: bootArgsSchema.optional(),
});

/** What a machine has that nothing else is said of. */
export const defaultMachine = { cpus: 1, memoryMiB: 256, diskMiB: 2048, network: 'none' } as const;

/** A spec with every default in its place. */
export interface CheckedSpec {
  id: string | undefined;
  image: string;
  cpus: number;
  memoryMiB: number;
  diskMiB: number;
  network: 'none' | 'user';
  env: Record<string, string>;
  labels: Record<string, string>;
  kernel: KernelRequest;
  bootArgs: readonly string[];
}

/**
 * Checks a whole spec, against the host too, and fills in the defaults. Whether files are there, {@link checkKernelFiles} says.
 *
 * @throws AlcoveError `InvalidInput`, naming the field
 */
export function checkVmSpec(spec: VmSpec, host: HostFacts): CheckedSpec {
  const given = parse(vmSchema, spec, 'spec');
  const {
    cpus = defaultMachine.cpus,
    memoryMiB = defaultMachine.memoryMiB,
    diskMiB = defaultMachine.diskMiB,
    network = defaultMachine.network,
  } = given;
  requireAtMost('cpus', cpus, host.cores, 'cores');
  requireAtMost('memoryMiB', memoryMiB, host.memoryMiB, 'MiB of memory');
  requireAtMost('diskMiB', diskMiB, host.diskMiB, 'MiB of disk');
  return {
    id: given.id,
    image: given.image,
    cpus,
    memoryMiB,
    diskMiB,
    network,
    env: given.env ?? {},
    labels: given.labels ?? {},
    kernel: {
      ...(given.kernel !== undefined && { kernelPath: given.kernel }),
      ...(given.modules !== undefined && { modulesDir: given.modules }),
      ...(given.initramfs !== undefined && { initramfsPath: given.initramfs }),
    },
    bootArgs: given.bootArgs ?? [],
  };
}

/** @throws AlcoveError `InvalidInput`, naming the field, for a file of one's own that cannot be read */
export async function checkKernelFiles({
  kernelPath,
  modulesDir,
  initramfsPath,
}: KernelRequest): Promise<void> {
  await requireReadable('kernel', kernelPath);
  await requireReadable('modules', modulesDir);
  await requireReadable('initramfs', initramfsPath);
}

/** @throws AlcoveError `InvalidInput`, naming the field */
export function checkRestoreSpec(spec: RestoreSpec): {
  id: string | undefined;
  env: Record<string, string>;
  labels: Record<string, string>;
  memory: 'include' | 'exclude';
} {
  const given = parse(restoreSchema, spec, 'spec');
  return {
    id: given.id,
    env: given.env ?? {},
    labels: given.labels ?? {},
    memory: given.memory ?? 'include',
  };
}

/** @throws AlcoveError `InvalidInput`, naming the label */
export function checkLabels(labels: Record<string, string> = {}): Record<string, string> {
  return parse(z.strictObject({ labels: labelsSchema }), { labels }, 'labels').labels;
}

/** @throws AlcoveError `InvalidInput` */
export function invalidInput(field: string, what: string): AlcoveError<'InvalidInput'> {
  return new AlcoveError('InvalidInput', `${field} ${what}`, { details: { field } });
}

function parse<T>(schema: z.ZodType<T>, value: unknown, whole: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  if (unknown !== undefined) throw invalidInput(unknown, 'is not known');
  // The message of a record's bad key lies one level deeper, in the key's own issues.
  const message = issue?.code === 'invalid_key' ? issue.issues[0]?.message : issue?.message;
  throw invalidInput(issue?.path.join('.') || whole, message ?? 'is not valid');
}

function requireAtMost(field: string, asked: number, has: number, what: string): void {
  if (asked > has) throw invalidInput(field, `is ${asked}, and this host has ${has} ${what}`);
}

async function requireReadable(field: string, path: string | undefined): Promise<void> {
  if (path === undefined) return;
  try {
    await access(path, constants.R_OK);
  } catch (error) {
    throw new AlcoveError('InvalidInput', `${field} cannot be read: ${(error as Error).message}`, {
      details: { field },
      cause: error,
    });
  }
}
