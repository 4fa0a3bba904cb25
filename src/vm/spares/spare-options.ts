import { z } from 'zod';
import { invalidInput } from '../vm-spec.ts';

/** How many machines are made ahead of need, and when they are given up. */
export interface WarmOptions {
  /** Whether the engine makes them by itself, as VMs are started. Those made by hand are used either way. @default 'off' */
  pool: 'on' | 'off';
  /** What becomes of those it made by itself when the engine closes. Those made by hand stay. @default 'give-up' */
  atClose: 'give-up' | 'keep';
  /** So many wait for each image (with shape and disk size) that VMs were started from lately. @default 1 */
  perImage: number;
  /** … for each shape of VMs that were started lately. @default 1 */
  perShape: number;
  /** … for each memory snapshot whose copies were started lately. @default 1 */
  perSnapshot: number;
  /** Most that wait in all, those made by hand included. @default 8 */
  max: number;
  /** Most VM memory of all that wait, in MiB. @default a quarter of the limit on the memory of VMs */
  memoryMiB: number;
  /** One that nobody asked for during so many ms is given up. @default 600000 */
  idleMs: number;
  /** They are given up when the host has less memory available than this, in MiB. @default 512 */
  minFreeMemoryMiB: number;
  /** … or less room on the file system of the state directory. @default 1024 */
  minFreeDiskMiB: number;
}

const count = z.int('must be a whole number').nonnegative('must not be negative');

const schema = z.strictObject({
  pool: z.enum(['on', 'off'], 'must be "on" or "off"').default('off'),
  atClose: z.enum(['give-up', 'keep'], 'must be "give-up" or "keep"').default('give-up'),
  perImage: count.default(1),
  perShape: count.default(1),
  perSnapshot: count.default(1),
  max: count.default(8),
  memoryMiB: count.optional(),
  idleMs: count.default(600_000),
  minFreeMemoryMiB: count.default(512),
  minFreeDiskMiB: count.default(1024),
});

/**
 * Options with every default in its place.
 *
 * @param limitMiB the limit on the memory of all VMs
 * @throws AlcoveError `InvalidInput`, naming the field
 */
export function warmOptions(given: Partial<WarmOptions>, limitMiB: number): WarmOptions {
  const parsed = schema.safeParse(given);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const unknown = issue?.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
    const field = ['warm', ...(issue?.path ?? []), ...(unknown ? [unknown] : [])].join('.');
    throw invalidInput(field, unknown ? 'is not known' : (issue?.message ?? 'is not valid'));
  }
  return { ...parsed.data, memoryMiB: parsed.data.memoryMiB ?? Math.floor(limitMiB / 4) };
}
