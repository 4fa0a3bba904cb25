/**
 * The floor: what a person would write by hand to run one command in a machine with the same kernel, and nothing more. A shell
 * script as init loads the modules, mounts the same root filesystem and runs the command in it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { basename } from 'node:path';
import { timed } from './measure.ts';

export interface FloorFiles {
  kernelPath: string;
  initramfsPath: string;
  rootfsPath: string;
}

const done = 'floor: done';

/** The init of the floor's initramfs; modules are paths inside it, in load order. */
export function floorInit(modules: readonly string[]): string {
  return [
    '#!/bin/busybox sh',
    'B=/bin/busybox',
    '$B mount -t proc proc /proc',
    '$B mount -t devtmpfs dev /dev',
    ...modules.map((path) => `$B insmod /modules/${path} # ${basename(path)}`),
    '$B mount -t squashfs -o ro /dev/vda /root',
    '$B chroot /root /bin/true',
    `echo "${done}" > /dev/ttyS0`,
    '$B poweroff -f',
    '',
  ].join('\n');
}

/** From the start of QEMU to the end of the command, in ms. */
export function runFloor(files: FloorFiles, accel: string, memoryMiB: number): Promise<number> {
  return timed(async () => {
    const args = ['-accel', accel, '-m', `${memoryMiB}`, '-nodefaults', '-display', 'none', '-no-reboot'];
    args.push('-serial', 'stdio', '-kernel', files.kernelPath, '-initrd', files.initramfsPath);
    args.push('-append', 'console=ttyS0 quiet panic=-1');
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
