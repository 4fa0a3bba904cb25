import { resolve } from 'node:path';
import type { CacheMode, CachePolicy, KeyPolicy } from '../action.ts';
import type { Pipeline, Step } from './pipeline.ts';

/** Whether a step's result is stored. */
export function isCached(step: Step, pipeline: Pipeline): boolean {
  const policy = policyOf(step, pipeline);
  return typeof policy === 'object' && 'key' in policy ? true : !isNone(policy);
}

/** @param base where relative host paths start; absolute */
export function cachePolicy(
  step: Step,
  pipeline: Pipeline,
  { base, mode }: { base: string; mode?: CacheMode | undefined },
): CachePolicy {
  const policy = policyOf(step, pipeline);
  if (typeof policy === 'object' && 'key' in policy) {
    const { key, maxAgeMs } = policy;
    return { cache: key, ...(maxAgeMs !== undefined && { maxAgeMs }), ...(mode && { mode }) };
  }
  return isNone(policy) ? 'none' : { auto: basedOn(policy, base), ...(mode && { mode }) };
}

function policyOf(step: Step, pipeline: Pipeline): NonNullable<Step['cache']> {
  return step.cache ?? pipeline.cache ?? 'forever';
}

function isNone(policy: KeyPolicy): boolean {
  if (typeof policy === 'string') return policy === 'none';
  return 'compose' in policy && policy.compose.some(isNone);
}

function basedOn(policy: KeyPolicy, base: string): KeyPolicy {
  if (typeof policy === 'string' || 'ttlMs' in policy) return policy;
  if ('compose' in policy) return { compose: policy.compose.map((part) => basedOn(part, base)) };
  return { onChange: policy.onChange, base: resolve(base, policy.base ?? '.') };
}
