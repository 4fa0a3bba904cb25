/** The programs that run on every side of the comparisons: small, static, the same file everywhere. */
import { join } from 'node:path';
import { runTool } from '../../src/host/index.ts';

/** Each with what it takes to compile. */
const flags: Readonly<Record<string, readonly string[]>> = {
  'no-op': ['-nostdlib'],
  gap: ['-Wall'],
  change: ['-Wall'],
  files: ['-Wall'],
};

/** Compiles all of them into a directory. */
export async function compilePrograms(dir: string): Promise<void> {
  for (const [name, own] of Object.entries(flags)) {
    const source = join(import.meta.dirname, `${name}.c`);
    await runTool('cc', ['-static', '-O1', ...own, '-o', join(dir, name), source]);
  }
}
