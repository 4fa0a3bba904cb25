/** Small trees on the host, as values: what tests write, read back and change. */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';

export type Node = { mode: number } & ({ text: string } | { target: string } | { children: Tree });
export type Tree = { readonly [name: string]: Node };

const names = [
  'a',
  'b',
  'a.o',
  '.hidden',
  'with space',
  'ü',
  "quote'",
  'new\nline',
  '-dash',
  '...',
  '__proto__x',
];
const name = fc.constantFrom(...names);
const mode = fc.constantFrom(0o644, 0o755, 0o600, 0o4755, 0o444);

export const tree: fc.Arbitrary<Tree> = fc.letrec<{ tree: Tree; node: Node }>((tie) => ({
  tree: fc.dictionary(name, tie('node'), { maxKeys: 5 }),
  node: fc.oneof(
    { depthSize: 'small' },
    fc.record({ mode, text: fc.constantFrom('', 'text', 'other', 'x'.repeat(70_000)) }),
    fc.record({ mode: fc.constant(0o777), target: fc.constantFrom('a', '../b', 'nowhere', '.') }),
    fc.record({ mode: fc.constantFrom(0o755, 0o700, 0o1777), children: tie('tree') }),
  ),
})).tree;

/** @param reverse makes files in the other order */
export function writeTree(at: string, tree: Tree, { reverse }: { reverse?: true } = {}): void {
  mkdirSync(at, { recursive: true });
  const nodes = Object.entries(tree);
  for (const [name, node] of reverse ? nodes.reverse() : nodes) {
    const path = join(at, name);
    if ('target' in node) symlinkSync(node.target, path);
    else if ('text' in node) writeFileSync(path, node.text);
    else writeTree(path, node.children, reverse ? { reverse } : {});
    if (!('target' in node)) chmodSync(path, node.mode);
  }
}

/** By path: kind, mode, and target or content. */
export function readTree(at: string, prefix = ''): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of readdirSync(at).sort()) {
    const path = join(at, name);
    const stats = lstatSync(path);
    const mode = (stats.mode & 0o7777).toString(8);
    if (stats.isSymbolicLink()) found.set(prefix + name, `link to ${readlinkSync(path)}`);
    else if (stats.isDirectory()) {
      found.set(prefix + name, `directory ${mode}`);
      for (const [below, what] of readTree(path, `${prefix}${name}/`)) found.set(below, what);
    } else if (stats.isFile()) {
      found.set(
        prefix + name,
        `file ${mode} ${createHash('sha256').update(readFileSync(path)).digest('hex')}`,
      );
    } else found.set(prefix + name, `other ${mode}`);
  }
  return found;
}

export function emptyFolder(at: string): void {
  rmSync(at, { recursive: true, force: true });
  mkdirSync(at, { recursive: true });
}
