import { invalidFlag } from './invalid-flag.ts';

const mibPerUnit: Readonly<Record<string, number>> = { k: 1 / 1024, m: 1, g: 1024, t: 1024 * 1024 };

/**
 * A size such as `512M`, `1G` or `1.5GiB`, in MiB. Units are powers of 1024; a number without a unit is refused, as is
 * `MB`, which means two things.
 *
 * @param flag named in the message
 * @throws AlcoveError `InvalidInput`
 */
export function parseSize(flag: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kmgt])(?:ib)?$/i.exec(text.trim());
  const unit = mibPerUnit[match?.[2]?.toLowerCase() ?? ''];
  if (!match || unit === undefined) {
    throw invalidFlag(flag, `"${text}" is not a size; write it like 512M, 1G or 1GiB`);
  }
  const mib = Number(match[1]) * unit;
  if (mib <= 0) throw invalidFlag(flag, `"${text}" is nothing; write a size over zero`);
  if (!Number.isInteger(mib)) throw invalidFlag(flag, `"${text}" is not a whole number of MiB`);
  if (!Number.isSafeInteger(mib * 1024 * 1024)) throw invalidFlag(flag, `"${text}" is too large`);
  return mib;
}
