/** The whole test run: sets up, builds, and runs the tests of the agent and of everything else. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { build, cargo, root, run } from './build.ts';
import { setUp } from './setup.ts';

setUp('test');
build();
mkdirSync(join(root, 'build'), { recursive: true });
cargo(['test', '--lib']); // Not documentation tests, too: Debian's rustc brings no rustdoc.
const reporters = ['--reporter=default', '--reporter=json', '--outputFile.json=build/test-report.json'];
run(process.execPath, [
  join(root, 'node_modules/vitest/vitest.mjs'),
  'run',
  ...reporters,
  ...process.argv.slice(2),
]);
