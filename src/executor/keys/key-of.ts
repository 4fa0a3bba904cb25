import { CanonicalHash } from './canonical-hash.ts';
import type { Inputs } from './inputs.ts';

/** The key of all inputs: `v1:<64 hex digits>`. Other inputs have another; the same ones have the same in whatever order they come. */
export function keyOf({ values, trees }: Inputs): string {
  const hash = new CanonicalHash('alcove key v1');
  const names = Object.keys(values).sort();
  hash.add(`${names.length}`);
  for (const name of names) hash.add(name, values[name]?.text ?? '');
  for (const { to, digest, rules = '' } of trees) hash.add(to, digest, rules);
  return `v1:${hash.digest()}`;
}
