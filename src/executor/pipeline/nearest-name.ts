/**
 * The one of `names` that was probably meant by `name`: at most two letters changed, left out, added or swapped, and fewer than half; or one
 * that goes on where `name` ends.
 */
export function nearestName(name: string, names: readonly string[]): string | undefined {
  let nearest: string | undefined;
  let fewest = Math.min(2, Math.ceil(name.length / 2) - 1) + 1;
  for (const candidate of names) {
    if (Math.abs(candidate.length - name.length) >= fewest) continue;
    const count = edits(name.toLowerCase(), candidate.toLowerCase());
    if (count >= fewest) continue;
    fewest = count;
    nearest = candidate;
  }
  return nearest ?? (name.length > 2 ? names.find((candidate) => candidate.startsWith(name)) : undefined);
}

/** Optimal string alignment distance: Levenshtein's, with a swap of neighbours as one edit. */
function edits(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      current[column] = Math.min(
        at(last, column) + 1,
        at(current, column - 1) + 1,
        at(last, column - 1) + (same ? 0 : 1),
        swapped ? at(beforeLast, column - 2) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    beforeLast = last;
    last = current;
  }
  return at(last, b.length);
}

function at(counts: readonly number[], index: number): number {
  return counts[index] ?? Number.POSITIVE_INFINITY;
}
