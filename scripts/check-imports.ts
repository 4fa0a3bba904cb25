/** Holds the import order of the house: a folder of `src/` imports only from folders below it, never upwards or sideways. */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** From the top down; folders on one line do not know each other. */
const floors: readonly (readonly string[])[] = [
  ['cli'],
  ['client', 'server'],
  ['engine'],
  ['sessions', 'executor'],
  ['vm'],
  ['backends/memory', 'backends/qemu'],
  ['guest', 'images'],
  ['store', 'config'],
  ['host'],
];

/** Upward imports that leave no trace at run time, each with its decision record. */
const typesOnly: readonly { from: string; to: string }[] = [
  { from: 'backends/', to: 'vm/' }, // docs/decisions/0001-contract-in-vm.md
];

/** The import order's violations in a set of files, as sentences. Paths are relative to `src/`. */
export function findViolations(files: ReadonlyMap<string, string>): string[] {
  const found: string[] = [];
  for (const [file, text] of files) {
    const from = placeOf(file);
    if (from === undefined) continue;
    for (const { specifier, types } of importsOf(text)) {
      if (!specifier.startsWith('.')) continue;
      const target = normalize(join(dirname(file), specifier));
      if (target.startsWith('..')) {
        if (!file.endsWith('.test.ts')) found.push(`${file} reaches out of src with ${specifier}`);
        continue;
      }
      const to = placeOf(target);
      if (to === undefined || to.folder === from.folder) continue;
      const allowedTypes = typesOnly.some(
        (t) => from.folder.startsWith(t.from) && `${to.folder}/`.startsWith(t.to),
      );
      if (to.floor > from.floor || (types && allowedTypes)) continue;
      found.push(`${file} imports ${target}: ${from.folder} may not know ${to.folder}`);
    }
  }
  return found;
}

function placeOf(file: string): { folder: string; floor: number } | undefined {
  for (const [floor, folders] of floors.entries()) {
    const folder = folders.find((name) => file.startsWith(`${name}/`));
    if (folder) return { folder, floor };
  }
  if (file === 'index.ts') return undefined; // What a library user imports may name anything below it.
  if (file.startsWith('errors')) return { folder: 'errors', floor: floors.length };
  throw new Error(`src/${file} has no place in the house; see scripts/check-imports.ts`);
}

function* importsOf(text: string): Iterable<{ specifier: string; types: boolean }> {
  const pattern = /^\s*(import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?['"]([^'"]+)['"]/gm;
  for (const match of text.matchAll(pattern))
    yield { specifier: match[3] ?? '', types: match[2] !== undefined };
  for (const match of text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g))
    yield { specifier: match[1] ?? '', types: false };
}

if (import.meta.main) {
  const files = new Map(
    globSync('**/*.ts', { cwd: 'src' }).map((file) => [file, readFileSync(join('src', file), 'utf8')]),
  );
  const violations = findViolations(files);
  for (const violation of violations) console.error(`import order: ${violation}`);
  process.exit(violations.length > 0 ? 1 : 0);
}
