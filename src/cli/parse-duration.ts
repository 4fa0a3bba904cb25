import { invalidFlag } from './invalid-flag.ts';

const msPerUnit: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Longest timer that Node has; a longer one would fire at once. */
const longestMs = 2 ** 31 - 1;

/**
 * A duration such as `500ms`, `10s`, `1.5m` or `1h`, in ms. A number without a unit is refused.
 *
 * @param flag named in the message
 * @throws AlcoveError `InvalidInput`
 */
export function parseDuration(flag: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text.trim());
  const unit = msPerUnit[match?.[2] ?? ''];
  if (!match || unit === undefined) {
    throw invalidFlag(flag, `"${text}" is not a duration; write it like 500ms, 10s, 5m or 1h`);
  }
  const ms = Math.round(Number(match[1]) * unit);
  if (ms > longestMs) throw invalidFlag(flag, `"${text}" is longer than 24 days`);
  return ms;
}

/** As {@link parseDuration}, and over zero. */
export function parsePositiveDuration(flag: string, text: string): number {
  const ms = parseDuration(flag, text);
  if (ms === 0) throw invalidFlag(flag, `"${text}" is no time at all; write a duration over zero`);
  return ms;
}
