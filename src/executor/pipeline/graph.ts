/** What each name needs, by name; every name that is needed is a key. In the order of declaration. */
export type Needs = ReadonlyMap<string, readonly string[]>;

/** Names that need each other, from one back to itself: `['a', 'b', 'a']`. */
export function findCycle(needs: Needs): string[] | undefined {
  const left = new Set(needs.keys());
  // What needs nothing that is left is in no cycle. In declaration order that is often one round.
  for (let found = true; found; ) {
    found = false;
    for (const name of left) {
      if ((needs.get(name) ?? []).some((needed) => left.has(needed))) continue;
      left.delete(name);
      found = true;
    }
  }
  // Everything that is left needs something that is left: whoever follows that comes round.
  const walked: string[] = [];
  let [name] = left;
  while (name !== undefined) {
    const seenAt = walked.indexOf(name);
    if (seenAt >= 0) return [...walked.slice(seenAt), name];
    walked.push(name);
    name = (needs.get(name) ?? []).find((needed) => left.has(needed));
  }
  return undefined;
}

/** `names` with all that they need, directly or not. */
export function withNeeds(names: Iterable<string>, needs: Needs): Set<string> {
  const found = new Set(names);
  for (const name of found) for (const needed of needs.get(name) ?? []) found.add(needed); // A set is iterated with what is added meanwhile.
  return found;
}

/** The names, each after what it needs, otherwise as they are. `needs` has no cycle. */
export function inOrder(needs: Needs): string[] {
  const left = new Set(needs.keys());
  const ordered: string[] = [];
  while (left.size > 0) {
    for (const name of left) {
      if ((needs.get(name) ?? []).some((needed) => left.has(needed))) continue;
      left.delete(name);
      ordered.push(name);
    }
  }
  return ordered;
}
