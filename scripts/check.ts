/** The static checks: types, lint and format, import order. */
import { join } from 'node:path';
import { root, run } from './build.ts';

const bin = join(root, 'node_modules/.bin');
run(join(bin, 'tsc'), ['-p', 'tsconfig.json']);
run(join(bin, 'biome'), ['ci', '--error-on-warnings', '.']);
run(process.execPath, [join(root, 'scripts/check-imports.ts')]);
console.error('check: types, lint, format and import order are in order');
