import type { InputChange, Inputs, StoredInputs } from './inputs.ts';

/**
 * What is different now from an earlier run, by name of the input.
 *
 * @param earlierKey under which `earlier` is stored: digests of secrets depend on it
 */
export function changesBetween(_earlier: StoredInputs, _earlierKey: string, _now: Inputs): InputChange[] {
  throw new Error('to come');
}
