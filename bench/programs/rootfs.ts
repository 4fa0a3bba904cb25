/** The root filesystem that runs on every side of the comparisons: the static busybox of this host, and the programs. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runTool } from '../../src/host/index.ts';
import { compilePrograms } from './programs.ts';

export interface Rootfs {
  /** Unpacked. */
  dir: string;
  tar: string;
  /** Static. */
  busybox: string;
}

export async function packRootfs(workDir: string): Promise<Rootfs> {
  const busybox = findBusybox();
  const dir = join(workDir, 'rootfs');
  mkdirSync(join(dir, 'bin'), { recursive: true });
  writeFileSync(join(dir, 'bin/busybox'), readFileSync(busybox), { mode: 0o755 });
  for (const applet of ['sh', 'true', 'sleep']) symlinkSync('busybox', join(dir, 'bin', applet));
  for (const name of ['dev', 'proc', 'sys', 'tmp', 'run', 'etc', 'root']) mkdirSync(join(dir, name));
  await compilePrograms(join(dir, 'bin'));
  const tar = join(workDir, 'rootfs.tar');
  await runTool('tar', ['-C', dir, '-cf', tar, '.']);
  return { dir, tar, busybox };
}

/** Another image: the same root filesystem with one file more, so that its digest is its own. */
export async function packVariant({ tar }: Rootfs, name: string, workDir: string): Promise<string> {
  const extra = join(workDir, 'variant');
  mkdirSync(join(extra, 'etc'), { recursive: true });
  writeFileSync(join(extra, 'etc/variant'), `${name}\n`);
  const path = join(workDir, `${name}.tar`);
  copyFileSync(tar, path);
  await runTool('tar', ['-C', extra, '-rf', path, './etc/variant']);
  return path;
}

function findBusybox(): string {
  const found = ['/usr/bin/busybox', '/bin/busybox'].find((path) => existsSync(path));
  if (!found) throw new Error('busybox is not installed');
  return found;
}
