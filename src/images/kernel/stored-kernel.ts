import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { renameDurably, type Seal, sealOfFile, syncPath } from '../../store/index.ts';
import { digestOf } from '../digest.ts';
import { type GuestModule, guestModules } from './module-closure.ts';

export const kernelFile = 'vmlinuz';

const fileFacts = z.object({ digest: z.string(), sizeBytes: z.number() });
const manifestSchema = z.object({
  format: z.literal(1),
  release: z.string(),
  package: z.string(),
  createdAtMs: z.number(),
  kernel: fileFacts,
  /** Modules that were asked for; one kept for fewer than are wanted now is passed over. */
  wanted: z.array(z.string()),
  /** In the order in which the guest loads them. */
  modules: z.array(fileFacts.extend({ name: z.string().regex(/^\w+$/) })),
});

/** What `manifest.json` beside a kept kernel says. */
export type KernelManifest = z.infer<typeof manifestSchema>;

/** A kernel kept in the state directory: `<kernels>/<release>/{vmlinuz,modules/*.ko,manifest.json}`. */
export interface StoredKernel {
  dir: string;
  manifest: KernelManifest;
  kernelPath: string;
  /** Of the kernel, from before its bytes were compared. */
  seal: Seal;
  modules: GuestModule[];
}

/** Puts a kernel into `kernelsDir`, whole or not at all, in place of one of the same release. */
export async function storeKernel(
  kernelsDir: string,
  staging: string,
  kernel: { release: string; package: string; createdAtMs: number; data: Buffer; modules: GuestModule[] },
): Promise<void> {
  const { data, modules, ...names } = kernel;
  const facts = (bytes: Uint8Array) => ({ digest: digestOf(bytes), sizeBytes: bytes.length });
  const manifest: KernelManifest = {
    format: 1,
    ...names,
    kernel: facts(data),
    wanted: [...guestModules],
    modules: modules.map((module) => ({ name: module.name, ...facts(module.data) })),
  };
  const files = new Map<string, string | Uint8Array>([
    [kernelFile, data],
    ...modules.map((module) => [`modules/${module.name}.ko`, module.data] as const),
    ['manifest.json', `${JSON.stringify(manifest, undefined, 2)}\n`],
  ]);
  await mkdir(join(staging, 'modules'), { recursive: true });
  for (const [name, content] of files) {
    await writeFile(join(staging, name), content, { mode: 0o600, flush: true });
  }
  await syncPath(join(staging, 'modules'));
  await syncPath(staging);
  const place = join(kernelsDir, kernel.release);
  await rename(place, `${staging}-old`).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  await renameDurably(staging, place);
  await rm(`${staging}-old`, { recursive: true, force: true });
}

/** Those that have all modules that are wanted now, the one that was kept last first. Their files are not read. */
export async function keptKernels(kernelsDir: string): Promise<{ dir: string; manifest: KernelManifest }[]> {
  const kept: { dir: string; manifest: KernelManifest }[] = [];
  for (const name of await readdir(kernelsDir)) {
    const dir = join(kernelsDir, name);
    const manifest = await readManifest(dir);
    if (manifest && guestModules.every((name) => manifest.wanted.includes(name)))
      kept.push({ dir, manifest });
  }
  return kept.sort((a, b) => b.manifest.createdAtMs - a.manifest.createdAtMs);
}

/** The kernel that was kept last and whose files are what its manifest says. Damaged ones are passed over: they are fetched again. */
export async function findStoredKernel(kernelsDir: string): Promise<StoredKernel | undefined> {
  for (const { dir, manifest } of await keptKernels(kernelsDir)) {
    const stored = await readVerified(dir, manifest);
    if (stored) return stored;
  }
  return undefined;
}

/** What a directory says it holds; `undefined` when it is no kernel of ours. */
export async function readManifest(dir: string): Promise<KernelManifest | undefined> {
  const text = await readIfThere(join(dir, 'manifest.json'));
  if (text === undefined) return undefined;
  try {
    return manifestSchema.safeParse(JSON.parse(text.toString())).data;
  } catch {
    return undefined; // Torn or foreign: not a kernel of ours.
  }
}

async function readVerified(dir: string, manifest: KernelManifest): Promise<StoredKernel | undefined> {
  const kernelPath = join(dir, kernelFile);
  const seal = await sealOfFile(kernelPath).catch(noneIfAbsent);
  const kernel = await readIfThere(kernelPath);
  if (seal === undefined || kernel === undefined || digestOf(kernel) !== manifest.kernel.digest)
    return undefined;
  const modules: GuestModule[] = [];
  for (const { name, digest } of manifest.modules) {
    const data = await readIfThere(join(dir, 'modules', `${name}.ko`));
    if (data === undefined || digestOf(data) !== digest) return undefined;
    modules.push({ name, data });
  }
  return { dir, manifest, kernelPath, seal, modules };
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  return readFile(path).catch(noneIfAbsent);
}

function noneIfAbsent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
}
