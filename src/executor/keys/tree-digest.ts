import { CanonicalHash } from './canonical-hash.ts';
import type { TreeEntry } from './inputs.ts';

/** Of all that counts of a tree: `sha256:<hex>`. */
export function treeDigest(entries: readonly TreeEntry[]): string {
  const hash = new CanonicalHash('alcove tree v1');
  for (const { path, kind, mode, sha256 = '', target = '' } of entries) {
    hash.add(path, kind, mode.toString(8), sha256, target);
  }
  return `sha256:${hash.digest()}`;
}
