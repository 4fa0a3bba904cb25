import type { CliIo } from './io.ts';

/** What branches are drawn with. */
export interface Branches {
  /** Before a node that others follow. */
  more: string;
  /** Before the last one. */
  last: string;
  /** Below a node that others follow. */
  past: string;
  /** Below the last one. */
  none: string;
}

const lines: Branches = { more: '├─ ', last: '└─ ', past: '│  ', none: '   ' };
const ascii: Branches = { more: '|- ', last: '`- ', past: '|  ', none: '   ' };

/** Lines where standard output is a terminal that has them, as the locale says; else what every reader has. */
export function branchesFor(io: Pick<CliIo, 'env' | 'terminal'>): Branches {
  return io.terminal.isTerminal('stdout') && hasUnicode(io) ? lines : ascii;
}

/** Whether the locale's terminals show more than ASCII. */
export function hasUnicode({ env }: Pick<CliIo, 'env'>): boolean {
  return /utf-?8/i.test(env.LC_ALL || env.LC_CTYPE || env.LANG || '');
}

/** Every node below the roots, parents first, with the branches that lead to it. */
export function* drawTree<Node extends { children: readonly Node[] }>(
  roots: readonly Node[],
  branches: Branches,
): Iterable<{ node: Node; branch: string }> {
  for (const root of roots) {
    yield { node: root, branch: '' };
    yield* drawBelow(root, '', branches);
  }
}

function* drawBelow<Node extends { children: readonly Node[] }>(
  { children }: Node,
  above: string,
  branches: Branches,
): Iterable<{ node: Node; branch: string }> {
  for (const [index, node] of children.entries()) {
    const isLast = index === children.length - 1;
    yield { node, branch: above + (isLast ? branches.last : branches.more) };
    yield* drawBelow(node, above + (isLast ? branches.none : branches.past), branches);
  }
}
