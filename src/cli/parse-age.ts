import { invalidFlag } from './invalid-flag.ts';

const msPerUnit: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** How long ago something may have been, e.g. `30d` or `12h`, in ms. @throws AlcoveError `InvalidInput` */
export function parseAge(flag: string, text: string): number {
  const match = /^(\d{1,6})([smhd])$/.exec(text.trim());
  const unit = msPerUnit[match?.[2] ?? ''];
  if (!match || unit === undefined)
    throw invalidFlag(flag, `"${text}" is not an age; write it like 30m, 12h or 7d`);
  return Number(match[1]) * unit;
}

/** As {@link parseAge}, and over zero. */
export function parsePositiveAge(flag: string, text: string): number {
  const ms = parseAge(flag, text);
  if (ms === 0) throw invalidFlag(flag, `"${text}" is no time at all; write one over zero`);
  return ms;
}
