import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { AlcoveError } from '../../errors.ts';
import type { GuestKernel } from '../../images/index.ts';
import { writeFileDurably } from '../../store/index.ts';

/** How guest code is executed: by the processor, or translated in software. */
export type Accelerator = 'kvm' | 'tcg';

/** What the user wants: `auto` takes KVM where it is proven to work. */
export type AcceleratorWish = 'auto' | Accelerator;

/** How a machine's guest code is executed, and why so. */
export interface AcceleratorChoice {
  accelerator: Accelerator;
  reason: string;
}

/** What can be seen of the host, and the trial that proves KVM. Injected by tests. */
export interface KvmEvidence {
  /** Content of `/proc/cpuinfo`. */
  cpuInfo(): Promise<string>;
  /** `undefined` when `/dev/kvm` opens for reading and writing; else why not. */
  openKvm(): Promise<string | undefined>;
  /** Boots that kernel under KVM, within a deadline. `undefined` when its agent came up; else what happened. */
  trial(kernel: GuestKernel): Promise<string | undefined>;
}

/**
 * Decides by proof. `/dev/kvm` alone proves nothing: there are hosts where it opens and makes VMs, and a kernel then hangs in it
 * for ever. So: the processor's flags, then the device, then a kernel that really boots.
 *
 * @param kernel what to try; without one KVM stays unproven
 * @throws AlcoveError `BackendUnavailable` when KVM is wished for and not proven: never TCG instead, silently
 */
export async function chooseAccelerator(
  wish: AcceleratorWish,
  kernel: GuestKernel | undefined,
  evidence: KvmEvidence,
): Promise<AcceleratorChoice & { trial: 'done' | 'not-done' }> {
  if (wish === 'tcg')
    return { accelerator: 'tcg', reason: 'software emulation was asked for', trial: 'not-done' };
  const { doubt, trial } = await doubtKvm(kernel, evidence);
  if (doubt === undefined) return { accelerator: 'kvm', reason: 'a kernel was booted with it', trial };
  if (wish === 'auto') return { accelerator: 'tcg', reason: `KVM is not usable: ${doubt}`, trial };
  throw new AlcoveError('BackendUnavailable', `KVM was asked for and is not usable: ${doubt}`, {
    remedy: 'Use a host with hardware virtualisation, or let `accel` be `auto` or `tcg`.',
  });
}

async function doubtKvm(
  kernel: GuestKernel | undefined,
  evidence: KvmEvidence,
): Promise<{ doubt: string | undefined; trial: 'done' | 'not-done' }> {
  if (!/^flags\s*:.*\b(vmx|svm)\b/m.test(await evidence.cpuInfo()))
    return { doubt: 'the processor has no vmx or svm flag', trial: 'not-done' };
  const closed = await evidence.openKvm();
  if (closed !== undefined) return { doubt: closed, trial: 'not-done' };
  if (!kernel) return { doubt: 'there is no kernel here yet to try it with', trial: 'not-done' };
  return { doubt: await evidence.trial(kernel), trial: 'done' };
}

/** The part of the evidence that is the same for every backend of this host. */
export const hostEvidence: Omit<KvmEvidence, 'trial'> = {
  cpuInfo: () => readFile('/proc/cpuinfo', 'utf8'),
  async openKvm() {
    try {
      await using _ = await open('/dev/kvm', 'r+');
      return undefined;
    } catch (error) {
      return `/dev/kvm does not open: ${(error as Error).message}`;
    }
  },
};

const memorySchema = z.object({
  /** The trial's answer holds for this boot of the host, this QEMU and this kernel. */
  key: z.string(),
  /** What the trial said. */
  doubt: z.string().nullable(),
});

/** Wraps a trial so that its answer is asked for once per host boot, QEMU and kernel, whatever engine runs. */
export function rememberTrial(
  dir: string,
  keyParts: readonly string[],
  trial: KvmEvidence['trial'],
): KvmEvidence['trial'] {
  const path = join(dir, 'kvm-trial.json');
  return async (kernel) => {
    const key = [...keyParts, kernel.kernelDigest, kernel.initramfsDigest].join(' ');
    const remembered = await readMemory(path);
    if (remembered?.key === key) return remembered.doubt ?? undefined;
    const doubt = await trial(kernel);
    await writeFileDurably(path, JSON.stringify({ key, doubt: doubt ?? null }));
    return doubt;
  };
}

async function readMemory(path: string): Promise<z.infer<typeof memorySchema> | undefined> {
  try {
    return memorySchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined; // Not tried yet, or not to be read: then it is tried.
  }
}
