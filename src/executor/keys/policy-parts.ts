import { AlcoveError } from '../../errors.ts';
import type { KeyPolicy } from '../action.ts';

/** A policy that is made of no others. */
export type PolicyPart = Exclude<KeyPolicy, { compose: unknown }>;

/** What a policy is made of. @throws AlcoveError `InvalidInput` */
export function policyParts(policy: KeyPolicy): PolicyPart[] {
  if (policy === 'none' || policy === 'forever') return [policy];
  if ('compose' in policy) return policy.compose.flatMap(policyParts);
  if ('ttlMs' in policy) {
    const { ttlMs } = policy;
    if (!Number.isFinite(ttlMs) || ttlMs <= 0)
      throw invalidPolicy('ttlMs', `${ttlMs} is not a positive number`);
    return [policy];
  }
  if (policy.onChange.length === 0) throw invalidPolicy('onChange', 'names no path');
  return [policy];
}

export function invalidPolicy(field: string, problem: string, cause?: unknown): AlcoveError<'InvalidInput'> {
  return new AlcoveError('InvalidInput', `the cache policy's ${field}: ${problem}`, {
    cause,
    details: { field },
  });
}
