import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A file of this package by its path from the package's root, wherever a build has put the code that asks. */
export function packagePath(path: string): string {
  root ??= findRoot();
  return join(root, path);
}

let root: string | undefined;

function findRoot(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  for (let dir = here; dir !== dirname(dir); dir = dirname(dir))
    if (existsSync(join(dir, 'package.json'))) return dir;
  throw new Error(`${here} belongs to no package`);
}
