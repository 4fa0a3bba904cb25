/** The static busybox of this host: what runs on every side of the comparison. */
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runTool } from '../src/host/index.ts';

export function findBusybox(): string {
  const found = ['/usr/bin/busybox', '/bin/busybox'].find((path) => existsSync(path));
  if (!found) throw new Error('busybox is not installed');
  return found;
}

/** A root filesystem tar with nothing but busybox and the links the benches use. */
export async function packBusybox(busybox: string, workDir: string): Promise<string> {
  const tree = join(workDir, 'rootfs');
  mkdirSync(join(tree, 'bin'), { recursive: true });
  writeFileSync(join(tree, 'bin/busybox'), readFileSync(busybox), { mode: 0o755 });
  for (const applet of ['sh', 'true', 'sleep']) symlinkSync('busybox', join(tree, 'bin', applet));
  const path = join(workDir, 'rootfs.tar');
  await runTool('tar', ['-C', tree, '-cf', path, '.']);
  return path;
}
