import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { MachineShape } from '../../vm/backend.ts';
import type { Accelerator } from './accelerator.ts';
import type { QemuVersion } from './qemu-version.ts';

/**
 * Changes whenever `machine-args.ts` changes what a guest sees: device state of another layout is never loaded.
 */
const layout = 'q35/1';

/**
 * Everything that must be the same for a machine's memory to go on: the pages hold a kernel that has looked at its processor and
 * devices, and the device state is read by name and version of QEMU's own structures.
 */
export function machineFacts(
  { cpus, memoryMiB, network, kernel, bootArgs }: MachineShape,
  accelerator: Accelerator,
  qemu: QemuVersion,
): Record<string, string> {
  return {
    layout,
    qemu: qemu.text,
    firmware: qemu.qboot ? 'qboot' : 'SeaBIOS',
    accelerator,
    cpuModel: cpuModel(accelerator),
    ...(accelerator === 'kvm' && { hostCpu: hostCpu() }),
    cpus: String(cpus),
    memoryMiB: String(memoryMiB),
    network,
    kernel: kernel.kernelDigest,
    initramfs: kernel.initramfsDigest,
    bootArgs: bootArgs.join(' '),
  };
}

/**
 * Under software emulation without what costs more there than it is worth. Five-level page tables: 15 % of the boot, and a guest has
 * no such memory. ERMS and FSRM: kernel and libc then copy with `rep movsb`, which is emulated byte by byte; without, eight
 * bytes at a time: 300 MiB were read from the disk in 0.66 s instead of 1.66, 20,000 small files packed in 3.6 s instead of 8.7.
 */
export function cpuModel(accelerator: Accelerator): string {
  return accelerator === 'kvm' ? 'host' : 'max,la57=off,erms=off,fsrm=off';
}

/** `-cpu host` shows the guest this processor; another one may lack what it found. */
function hostCpu(): string {
  const info = readFileSync('/proc/cpuinfo', 'utf8').split('\n\n')[0] ?? '';
  const told = info
    .split('\n')
    .filter((line) => /^(vendor_id|cpu family|model|stepping|flags)\s*:/.test(line));
  return createHash('sha256').update(told.join('\n')).digest('hex').slice(0, 16);
}
