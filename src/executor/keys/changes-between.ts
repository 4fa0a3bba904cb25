import type { InjectedTree, InputChange, Inputs, InputValue, StoredInputs } from './inputs.ts';
import { isSecretInput, secretDigest } from './secret-inputs.ts';
import { shownText, shownTexts } from './shown-text.ts';
import { treeChanges } from './tree-changes.ts';
import { treeInputNames } from './tree-inputs.ts';

type StoredValue = StoredInputs['values'][string];

/**
 * What is different now from an earlier run, in the order of the inputs' names; of a tree that has changed, the paths that have.
 *
 * @param earlierKey under which `earlier` is stored: digests of secrets depend on it
 */
export function changesBetween(earlier: StoredInputs, earlierKey: string, now: Inputs): InputChange[] {
  const treesBefore = byInput(earlier.trees);
  const treesAfter = byInput(now.trees);
  const names = new Set([...Object.keys(earlier.values), ...Object.keys(now.values)]);
  return [...names].sort().flatMap((name): InputChange[] => {
    const before = earlier.values[name];
    const after = now.values[name];
    if (before && after && isSame(name, before, after, earlierKey)) return [];
    const treeBefore = treesBefore.get(name);
    const treeAfter = treesAfter.get(name);
    if (before && after && treeBefore && treeAfter)
      return changesOfTree(name, before, after, treeBefore, treeAfter);
    return [changeOfValue(name, before, after)];
  });
}

function byInput(trees: readonly InjectedTree[]): Map<string, InjectedTree> {
  const names = treeInputNames(trees);
  return new Map(trees.map((tree, index) => [names[index] ?? '', tree]));
}

function isSame(name: string, before: StoredValue, after: InputValue, earlierKey: string): boolean {
  if ('text' in before) return before.text === after.text;
  return before.digest === secretDigest(name, after.text, earlierKey);
}

function changeOfValue(
  name: string,
  before: StoredValue | undefined,
  after: InputValue | undefined,
): InputChange {
  const change = { input: name, change: before ? (after ? 'changed' : 'removed') : 'added' } as const;
  const textBefore = before && 'text' in before ? before.text : undefined;
  const secret = (before && 'digest' in before) || (after && isSecretInput(name, after));
  if (secret || isSecretInput(name, { text: textBefore ?? '' })) return { ...change, secret: true };
  if (textBefore !== undefined && after) return { ...change, ...shownTexts(textBefore, after.text) };
  if (textBefore !== undefined) return { ...change, before: shownText(textBefore) };
  return { ...change, ...(after && { after: shownText(after.text) }) };
}

/** The paths; and the tree itself where it is copied in another manner, or nobody knows the paths any more. */
function changesOfTree(
  name: string,
  before: StoredValue,
  after: InputValue,
  treeBefore: InjectedTree,
  treeAfter: InjectedTree,
): InputChange[] {
  const paths = treeBefore.digest === treeAfter.digest ? [] : treeChanges(name, treeBefore, treeAfter);
  const mannerBefore = 'text' in before ? mannerOf(before.text) : '';
  const mannerAfter = mannerOf(after.text);
  if (mannerBefore !== mannerAfter) {
    return [{ input: name, change: 'changed', ...shownTexts(mannerBefore, mannerAfter) }, ...paths];
  }
  return paths.length > 0 ? paths : [changeOfValue(name, before, after)];
}

/** How a tree is copied, of the text that the input has. */
function mannerOf(text: string): string {
  const space = text.indexOf(' ');
  return space < 0 ? '' : text.slice(space + 1);
}
