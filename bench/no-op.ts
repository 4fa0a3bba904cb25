/** The least a command can be: a static program that only exits. The same file runs on every side of the comparison. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runTool } from '../src/host/index.ts';

const source = `
void _start(void) { __asm__ volatile("syscall" : : "a"(60L), "D"(0L)); } /* exit(0) on x86-64 Linux */
`;

/** Compiles it to `path`. */
export async function compileNoOp(path: string, workDir: string): Promise<void> {
  const file = join(workDir, 'no-op.c');
  writeFileSync(file, source);
  await runTool('cc', ['-static', '-nostdlib', '-O1', '-o', path, file]);
}
