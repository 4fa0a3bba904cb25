import { invalidFlag } from './invalid-flag.ts';

/**
 * A whole number from 1 to `max`.
 *
 * @param flag named in the message
 * @throws AlcoveError `InvalidInput`
 */
export function parseCount(flag: string, text: string, max: number): number {
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(count >= 1 && count <= max)) {
    throw invalidFlag(flag, `"${text}" is not a whole number from 1 to ${max}`);
  }
  return count;
}
