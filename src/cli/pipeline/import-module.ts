import { readFileSync } from 'node:fs';
import { registerHooks, stripTypeScriptTypes } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

let isStripping = false;

/** Imports a file of the user's, TypeScript too, with what it imports. Throws whatever loading it throws. */
export async function importModule(path: string): Promise<Readonly<Record<string, unknown>>> {
  stripTypesWhereNodeDoesNot();
  return await import(pathToFileURL(path).href);
}

/** Node takes types away by itself from 22.18 on; before, and where it was told not to, this does. */
function stripTypesWhereNodeDoesNot(): void {
  if (process.features.typescript || isStripping) return;
  isStripping = true;
  registerHooks({
    load(url, context, next) {
      if (!/^file:.*\.m?ts$/.test(url)) return next(url, context);
      const source = stripTypeScriptTypes(readFileSync(fileURLToPath(url), 'utf8'), { sourceUrl: url });
      return { format: 'module', source, shortCircuit: true };
    },
  });
}
