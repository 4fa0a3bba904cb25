import type { InjectedTree } from './inputs.ts';

/** Names of the inputs that trees are, in their order: by path in the guest, and numbered where several go to one. */
export function treeInputNames(trees: readonly Pick<InjectedTree, 'to'>[]): string[] {
  const counts = new Map<string, number>();
  return trees.map(({ to }) => {
    const count = (counts.get(to) ?? 0) + 1;
    counts.set(to, count);
    return count === 1 ? `inject.${to}` : `inject.${to} (${count})`;
  });
}
