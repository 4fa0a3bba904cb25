import type { InjectedTree, InputChange, TreeEntry } from './inputs.ts';
import { shownText } from './shown-text.ts';
import { treeDigest } from './tree-digest.ts';

/**
 * The paths that are different in a tree, each as an input of its own, with what is different about them.
 *
 * @param name of the tree's input; nothing comes where the entries of the earlier tree are not known
 */
export function treeChanges(name: string, before: InjectedTree, after: InjectedTree): InputChange[] {
  if (before.entries.length === 0 && before.digest !== treeDigest([])) return [];
  const earlier = new Map(before.entries.map((entry) => [entry.path, entry]));
  const changes: InputChange[] = [];
  const inputOf = ({ path }: TreeEntry) => `${name === 'inject./' ? 'inject.' : name}/${path}`;
  for (const entry of after.entries) {
    const old = earlier.get(entry.path);
    earlier.delete(entry.path);
    if (!old) {
      changes.push({ input: inputOf(entry), change: 'added', after: whole(entry) });
      continue;
    }
    const [was, is] = differences(old, entry);
    if (was !== is) changes.push({ input: inputOf(entry), change: 'changed', before: was, after: is });
  }
  for (const entry of earlier.values()) {
    changes.push({ input: inputOf(entry), change: 'removed', before: whole(entry) });
  }
  return changes.sort((a, b) => (a.input < b.input ? -1 : a.input > b.input ? 1 : 0));
}

function whole({ kind, mode, sizeBytes, target }: TreeEntry): string {
  if (kind === 'file') return `file, ${sizeBytes} bytes, mode ${octal(mode)}`;
  if (kind === 'symlink') return `symlink to ${shownText(target ?? '')}`;
  return `${kind}, mode ${octal(mode)}`;
}

/** What is not the same, of both. */
function differences(before: TreeEntry, after: TreeEntry): [string, string] {
  if (before.kind !== after.kind) return [whole(before), whole(after)];
  const told = [before, after].map(({ mode, sha256, sizeBytes, target }) => {
    return [
      ...(before.mode === after.mode ? [] : [`mode ${octal(mode)}`]),
      ...(before.sha256 === after.sha256
        ? []
        : [`content sha256:${sha256?.slice(0, 12)}, ${sizeBytes} bytes`]),
      ...(before.target === after.target ? [] : [`target ${shownText(target ?? '')}`]),
    ].join(', ');
  });
  return [told[0] ?? '', told[1] ?? ''];
}

function octal(mode: number): string {
  return mode.toString(8).padStart(3, '0');
}
