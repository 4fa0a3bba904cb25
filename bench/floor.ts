/**
 * The floor: what a person would write by hand to run one command in a machine with the same kernel, and nothing more. A shell
 * script as init loads the modules that it takes to read the same root filesystem, mounts it and runs the command in it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runTool } from '../src/host/index.ts';
import { timed } from './measure.ts';

export interface FloorFiles {
  kernelPath: string;
  /** Squashfs. */
  rootfsPath: string;
  initramfsPath: string;
}

const done = 'floor: done';
const modules = ['virtio', 'virtio_ring', 'virtio_pci', 'virtio_blk', 'squashfs'];

/** Packs the floor's initramfs with the host's own cpio. @param kernelDir a kernel as Alcove keeps it */
export async function writeFloorInitramfs(
  kernelDir: string,
  busybox: string,
  workDir: string,
): Promise<string> {
  const tree = join(workDir, 'floor');
  for (const dir of ['bin', 'proc', 'dev', 'root']) mkdirSync(join(tree, dir), { recursive: true });
  writeFileSync(join(tree, 'bin/busybox'), readFileSync(busybox), { mode: 0o755 });
  const order = orderOf(kernelDir);
  for (const name of order)
    writeFileSync(join(tree, `${name}.ko`), readFileSync(join(kernelDir, `modules/${name}.ko`)));
  const init = [
    '#!/bin/busybox sh',
    'B=/bin/busybox',
    '$B mount -t proc proc /proc',
    '$B mount -t devtmpfs dev /dev',
    ...order.map((name) => `$B insmod /${name}.ko`),
    '$B mount -t squashfs -o ro /dev/vda /root',
    '$B chroot /root /bin/no-op',
    `echo "${done}" > /dev/ttyS0`,
    '$B poweroff -f',
  ];
  writeFileSync(join(tree, 'init'), `${init.join('\n')}\n`, { mode: 0o755 });
  const initramfs = join(workDir, 'floor.cpio');
  await runTool('sh', ['-c', 'cd "$0" && find . | cpio --quiet -o -H newc > "$1"', tree, initramfs]);
  return initramfs;
}

/** The modules the floor needs, in the order in which Alcove's own initramfs loads them. */
function orderOf(kernelDir: string): string[] {
  const manifest = JSON.parse(readFileSync(join(kernelDir, 'manifest.json'), 'utf8')) as {
    modules: { name: string }[];
  };
  const wanted = (name: string) => modules.includes(name) || name.startsWith('virtio_pci');
  return manifest.modules.map(({ name }) => name).filter(wanted);
}

/** The one kernel of a state directory. */
export function keptKernel(stateDir: string): string {
  const [release = ''] = readdirSync(join(stateDir, 'kernels'));
  return join(stateDir, 'kernels', release);
}

/** From the start of QEMU to the end of the command, in ms. */
export function runFloor(files: FloorFiles, memoryMiB: number): Promise<number> {
  return timed(async () => {
    const args = ['-accel', 'tcg', '-m', `${memoryMiB}`, '-nodefaults', '-display', 'none', '-no-reboot'];
    args.push('-serial', 'stdio', '-kernel', files.kernelPath, '-initrd', files.initramfsPath);
    args.push('-append', 'console=ttyS0 quiet panic=-1 rdinit=/init');
    args.push('-drive', `file=${files.rootfsPath},format=raw,if=virtio,readonly=on`);
    const qemu = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(qemu, 'exit');
    let console = '';
    for await (const chunk of qemu.stdout.setEncoding('utf8')) {
      console += chunk;
      if (console.includes(done)) break;
    }
    qemu.kill('SIGKILL');
    await ended;
    if (!console.includes(done)) throw new Error(`the floor did not come up:\n${console}`);
  });
}
