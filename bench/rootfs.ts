/** The root filesystem that runs on every side of the comparison: the static busybox of this host, and a no-op. */
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runTool } from '../src/host/index.ts';
import { compileNoOp } from './no-op.ts';

export function findBusybox(): string {
  const found = ['/usr/bin/busybox', '/bin/busybox'].find((path) => existsSync(path));
  if (!found) throw new Error('busybox is not installed');
  return found;
}

/** A tar of that root filesystem. */
export async function packRootfs(busybox: string, workDir: string): Promise<string> {
  const tree = join(workDir, 'rootfs');
  mkdirSync(join(tree, 'bin'), { recursive: true });
  writeFileSync(join(tree, 'bin/busybox'), readFileSync(busybox), { mode: 0o755 });
  for (const applet of ['sh', 'true', 'sleep']) symlinkSync('busybox', join(tree, 'bin', applet));
  for (const dir of ['dev', 'proc', 'sys', 'tmp', 'run', 'etc', 'root']) mkdirSync(join(tree, dir));
  await compileNoOp(join(tree, 'bin/no-op'), workDir);
  const path = join(workDir, 'rootfs.tar');
  await runTool('tar', ['-C', tree, '-cf', path, '.']);
  return path;
}
