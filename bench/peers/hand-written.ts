/**
 * The floor: what a person would write by hand to run a command in a machine with the same kernel, and nothing more. A shell script as
 * init loads the modules that it takes to read the same root filesystem, mounts it, and runs the command in it; or the commands
 * that come over a serial port, one after the other.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runTool } from '../../src/host/index.ts';
import type { Rootfs } from '../programs/rootfs.ts';

export interface HandWrittenFiles {
  kernel: string;
  /** Squashfs. */
  rootfs: string;
  /** Runs the no-op, and says so on the console. */
  runOnce: string;
  /** Runs what it is told to. */
  serve: string;
}

const done = 'floor: done';
const modules = ['virtio', 'virtio_ring', 'virtio_pci', 'virtio_blk', 'squashfs'];

/** Packs the initramfs and the root filesystem with the host's own tools. @param stateDir an engine's, for the kernel that it keeps there */
export async function writeHandWrittenFiles(
  stateDir: string,
  rootfs: Rootfs,
  workDir: string,
): Promise<HandWrittenFiles> {
  const [release = ''] = readdirSync(join(stateDir, 'kernels')).filter((name) => name !== 'initramfs');
  const kernelDir = join(stateDir, 'kernels', release);
  const squashfs = join(workDir, 'rootfs.squashfs');
  await runTool('mksquashfs', [rootfs.dir, squashfs, '-comp', 'lz4', '-quiet', '-no-progress']);
  const pack = (name: string, script: readonly string[]) =>
    packInitramfs({ name, script, kernelDir, busybox: rootfs.busybox, workDir });
  return {
    kernel: join(kernelDir, 'vmlinuz'),
    rootfs: squashfs,
    runOnce: await pack('run-once', [
      '$B chroot /root /bin/no-op',
      `echo "${done}" > /dev/ttyS0`,
      '$B poweroff -f',
    ]),
    serve: await pack('serve', [
      // To change 22 MiB in, beside the read-only root.
      '$B mount -t tmpfs tmp /root/tmp',
      'exec 3<>/dev/ttyS1',
      '$B stty -F /dev/ttyS1 raw -echo',
      'echo ready >&3',
      'while read -r line <&3; do $B chroot /root $line >&3; echo "exit $?" >&3; done',
    ]),
  };
}

/** From the start of QEMU to the end of the no-op. */
export async function runOnce(files: HandWrittenFiles, memoryMiB: number): Promise<void> {
  const args = ['-accel', 'tcg', '-m', `${memoryMiB}`, '-nodefaults', '-display', 'none', '-no-reboot'];
  args.push('-serial', 'stdio', ...kernelArgs(files, files.runOnce), ...diskArgs(files));
  const qemu = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(qemu, 'exit');
  let console = '';
  for await (const chunk of qemu.stdout.setEncoding('utf8')) {
    console += chunk;
    if (console.includes(done)) break;
  }
  qemu.kill('SIGKILL');
  await ended;
  if (!console.includes(done)) throw new Error(`the hand-written machine did not come up:\n${console}`);
}

export function kernelArgs({ kernel }: HandWrittenFiles, initramfs: string): string[] {
  const append = 'console=ttyS0 quiet panic=-1 rdinit=/init';
  return ['-kernel', kernel, '-initrd', initramfs, '-append', append];
}

export function diskArgs({ rootfs }: HandWrittenFiles): string[] {
  return ['-drive', `file=${rootfs},format=raw,if=virtio,readonly=on`];
}

interface InitramfsParts {
  name: string;
  /** What init does once the root filesystem is mounted. */
  script: readonly string[];
  kernelDir: string;
  busybox: string;
  workDir: string;
}

async function packInitramfs(parts: InitramfsParts): Promise<string> {
  const { kernelDir, workDir } = parts;
  const tree = join(workDir, parts.name);
  for (const dir of ['bin', 'proc', 'dev', 'root']) mkdirSync(join(tree, dir), { recursive: true });
  copyFileSync(parts.busybox, join(tree, 'bin/busybox'));
  const order = moduleOrder(kernelDir);
  for (const name of order) copyFileSync(join(kernelDir, `modules/${name}.ko`), join(tree, `${name}.ko`));
  const init = [
    '#!/bin/busybox sh',
    'B=/bin/busybox',
    '$B mount -t proc proc /proc',
    '$B mount -t devtmpfs dev /dev',
    ...order.map((name) => `$B insmod /${name}.ko`),
    '$B mount -t squashfs -o ro /dev/vda /root',
    ...parts.script,
  ];
  writeFileSync(join(tree, 'init'), `${init.join('\n')}\n`, { mode: 0o755 });
  const packed = join(workDir, `${parts.name}.cpio`);
  await runTool('sh', ['-c', 'cd "$0" && find . | cpio --quiet -o -H newc > "$1"', tree, packed]);
  return packed;
}

/** The modules it needs, in the order in which Alcove's own initramfs loads them. */
function moduleOrder(kernelDir: string): string[] {
  const manifest = JSON.parse(readFileSync(join(kernelDir, 'manifest.json'), 'utf8')) as {
    modules: { name: string }[];
  };
  const wanted = (name: string) => modules.includes(name) || name.startsWith('virtio_pci');
  return manifest.modules.map(({ name }) => name).filter(wanted);
}
