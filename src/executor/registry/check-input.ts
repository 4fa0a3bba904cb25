import { AlcoveError } from '../../errors.ts';
import type { CacheLimits } from './entry.ts';

const mostKeyCharacters = 1024;

/**
 * Lets through what can be a key: 1 to 1024 characters, no control characters.
 *
 * @throws AlcoveError `InvalidInput`
 */
export function checkCacheKey(key: string): string {
  const wrong = key === '' || key.length > mostKeyCharacters || /\p{Cc}/u.test(key) || !key.isWellFormed();
  if (!wrong) return key;
  throw invalid(
    'key',
    `a cache key must be 1 to ${mostKeyCharacters} characters of text, none of them a control character: ${JSON.stringify(key.slice(0, 80))}`,
  );
}

/** @throws AlcoveError `InvalidInput` */
export function checkLimits(limits: CacheLimits): CacheLimits {
  const { maxEntries, maxBytes, reservedBytes } = limits;
  if (!(Number.isSafeInteger(maxEntries) && maxEntries > 0))
    throw invalid('maxEntries', `maxEntries must be a positive whole number, not ${maxEntries}`);
  if (maxBytes !== Number.POSITIVE_INFINITY) checkBytes('maxBytes', maxBytes);
  checkBytes('reservedBytes', reservedBytes);
  return { maxEntries, maxBytes, reservedBytes };
}

/** @throws AlcoveError `InvalidInput` */
export function checkBytes(field: string, bytes: number): void {
  if (Number.isSafeInteger(bytes) && bytes >= 0) return;
  throw invalid(field, `${field} must be a whole number of bytes, not ${bytes}`);
}

export function invalid(field: string, message: string): AlcoveError<'InvalidInput'> {
  return new AlcoveError('InvalidInput', message, { details: { field } });
}
