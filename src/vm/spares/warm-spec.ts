import type { HostFacts } from '../host-facts.ts';
import type { CheckedSpec } from '../vm-spec.ts';
import { checkVmSpec, invalidInput } from '../vm-spec.ts';
import type { WarmSpec } from './spare-info.ts';

/** What a checked {@link WarmSpec} asks for. */
export type CheckedWarmSpec = { count: number } & (
  | { kind: 'memory'; snapshot: string }
  | { kind: 'image' | 'shape'; spec: CheckedSpec }
);

/**
 * Checks what is to be made ahead of need, as far as it can be without looking anything up.
 *
 * @param most how many may wait at once
 * @throws AlcoveError `InvalidInput`, naming the field
 */
export function checkWarmSpec(given: WarmSpec, host: HostFacts, most: number): CheckedWarmSpec {
  const { count = 1, snapshot, ...spec } = given;
  if (!Number.isInteger(count) || count < 1 || count > most)
    throw invalidInput('count', `must be a whole number from 1 to ${most}`);
  if (snapshot !== undefined) {
    const [other] = Object.entries(spec).find(([, value]) => value !== undefined) ?? [];
    if (other !== undefined) throw invalidInput(other, 'is said by the snapshot');
    return { kind: 'memory', count, snapshot };
  }
  // Whichever image: the shape is checked by the same rules.
  const checked = checkVmSpec({ ...spec, image: spec.image ?? 'any' }, host);
  return { kind: spec.image === undefined ? 'shape' : 'image', count, spec: checked };
}
