import { readFile, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import {
  isSealed,
  type Seal,
  sealHolds,
  sealOf,
  sealOfFile,
  sealSchema,
  writeFileDurably,
} from '../../store/index.ts';
import { isDigest } from '../digest.ts';
import type { GuestKernel } from '../guest-kernel.ts';
import { keptKernels, kernelFile, type StoredKernel } from './stored-kernel.ts';

const recordSchema = z.object({
  format: z.literal(1),
  kernel: sealSchema,
  /** Of the program that is the initramfs' `/init`. */
  agent: sealSchema,
  initramfs: z.object({ digest: z.string().refine(isDigest), seal: sealSchema }),
});
type PreparedRecord = z.infer<typeof recordSchema>;

const recordName = 'prepared.json';

/** What was found to be ready, to be looked at again each time. */
interface Ready {
  guest: GuestKernel;
  record: PreparedRecord;
  recordPath: string;
}

/**
 * Remembers, beside a kept kernel, that its bytes were compared and which initramfs was made of it and the agent. Comparing, packing
 * and digesting take 15–25 ms for each new engine and 2–3 ms for each VM on a quiet machine, the double and more on a busy one, and
 * give the same again until one of the files is another.
 */
export class PreparedKernels {
  readonly #kernelsDir: string;
  readonly #agentPath: string;
  readonly #initramfsPathOf: (digest: string) => string;
  #ready: Ready | undefined;

  constructor(options: {
    kernelsDir: string;
    agentPath: string;
    initramfsPathOf: (digest: string) => string;
  }) {
    this.#kernelsDir = options.kernelsDir;
    this.#agentPath = options.agentPath;
    this.#initramfsPathOf = options.initramfsPathOf;
  }

  /** The kernel that was kept last, with its initramfs, as long as none of their files was changed since they were compared. */
  async find(nowMs: number): Promise<GuestKernel | undefined> {
    this.#ready ??= await this.#read();
    if (!this.#ready) return undefined;
    const { guest, record, recordPath } = this.#ready;
    const same = await Promise.all([
      isSealed(guest.kernelPath, record.kernel),
      isSameProgram(this.#agentPath, record.agent),
      isSealed(guest.initramfsPath, record.initramfs.seal),
    ]);
    if (same.includes(false)) {
      this.#ready = undefined;
      return undefined;
    }
    await utimes(recordPath, nowMs / 1000, nowMs / 1000); // When it was last of use; the initramfs' own time is in its seal.
    return guest;
  }

  /** @param agent seal of the agent, from before it was read for this initramfs, whose bytes are known to be right */
  async remember({ dir, seal }: StoredKernel, guest: GuestKernel, agent: Seal): Promise<void> {
    const initramfs = { digest: guest.initramfsDigest, seal: await sealOfFile(guest.initramfsPath) };
    const record: PreparedRecord = { format: 1, kernel: seal, agent, initramfs };
    const recordPath = join(dir, recordName);
    await writeFileDurably(recordPath, `${JSON.stringify(record, undefined, 2)}\n`);
    this.#ready = { guest, record, recordPath };
  }
  async #read(): Promise<Ready | undefined> {
    const [newest] = await keptKernels(this.#kernelsDir);
    const record = newest && (await readRecord(newest.dir));
    if (!record) return undefined;
    const { dir, manifest } = newest;
    const guest: GuestKernel = {
      kernelPath: join(dir, kernelFile),
      kernelDigest: manifest.kernel.digest,
      initramfsPath: this.#initramfsPathOf(record.initramfs.digest),
      initramfsDigest: record.initramfs.digest,
      release: manifest.release,
    };
    return { guest, record, recordPath: join(dir, recordName) };
  }
}

/** Of the file itself, where its path leads to a link. */
export async function sealOfProgram(path: string): Promise<Seal> {
  return sealOf(await stat(path, { bigint: true }));
}

/** @returns `false` when there is none to look at: who needs it says so */
async function isSameProgram(path: string, seal: Seal): Promise<boolean> {
  const stats = await stat(path, { bigint: true }).catch(() => undefined);
  return stats !== undefined && sealHolds(seal, stats);
}

/** Which initramfs a kept kernel was last used with, and when. */
export async function lastUseOf(dir: string): Promise<{ initramfsDigest: string; atMs: number } | undefined> {
  const record = await readRecord(dir);
  if (!record) return undefined;
  const { mtimeMs } = await stat(join(dir, recordName));
  return { initramfsDigest: record.initramfs.digest, atMs: mtimeMs };
}

async function readRecord(dir: string): Promise<PreparedRecord | undefined> {
  try {
    return recordSchema.parse(JSON.parse(await readFile(join(dir, recordName), 'utf8')));
  } catch {
    return undefined; // Not made yet, or not to be read: then all is compared and made again.
  }
}
