import { lstat, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlcoveError } from '../../errors.ts';
import { imageDigestsInUse, removeImage } from '../images-in-use.ts';
import { unneededKernelFiles } from '../kernel-files.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import { formatSpan } from './format-span.ts';
import type { Garbage } from './garbage.ts';

/** Images that no VM and no snapshot needs. @param gone uids of snapshots that are about to go */
export async function unusedImages(context: RuntimeContext, gone: ReadonlySet<string>): Promise<Garbage[]> {
  const images = await context.images.list();
  const inUse = imageDigestsInUse(context, gone);
  return images
    .filter(({ digest }) => !inUse.has(digest))
    .map(({ digest, references, rootfsPath }) => ({
      kind: 'image',
      name: references.at(-1) ?? digest,
      why: 'no VM and no snapshot needs it',
      paths: [rootfsPath],
      remove: async () => {
        try {
          await removeImage(context, digest, (now) => context.images.remove(digest, now));
          return 'removed';
        } catch (error) {
          if (isAlcoveError(error, 'ImageNotFound')) return 'removed'; // By somebody else.
          if (isAlcoveError(error, 'ImageInUse')) return { stays: 'it is in use by now' };
          throw error;
        }
      },
    }));
}

/** Kernels and initramfs that nothing boots any more, and that were not used for a while. */
export async function unusedKernels(
  context: RuntimeContext,
  gone: ReadonlySet<string>,
  unusedForMs: number,
): Promise<Garbage[]> {
  const nowMs = context.clock.now();
  const unused = (await unneededKernelFiles(context, { gone })).filter(
    ({ lastUsedMs }) => nowMs - lastUsedMs >= unusedForMs,
  );
  return unused.map((file) => ({
    kind: file.kind,
    name: file.digest,
    why: `no VM and no snapshot boots it, and it was last used ${formatSpan(nowMs - file.lastUsedMs)} ago`,
    paths: [file.path],
    remove: async () => {
      const still = (await unneededKernelFiles(context)).some(({ path }) => path === file.path);
      if (!still) return { stays: 'it is in use by now' };
      await context.kernels.remove(file);
      return 'removed';
    },
  }));
}

/** No work writes for a day without touching its files. */
const staleMs = 86_400_000;

/** What work that failed could not take away. Who takes a state directory empties this folder, so there is little to find. */
export async function staleHalfMadeFiles(context: RuntimeContext): Promise<Garbage[]> {
  const { tmpDir } = context.places;
  const garbage: Garbage[] = [];
  for (const name of await readdir(tmpDir)) {
    const path = join(tmpDir, name);
    const ageMs = context.clock.now() - (await newestChangeMs(path));
    if (ageMs < staleMs) continue;
    garbage.push({
      kind: 'half-made file',
      name,
      why: `nobody has written it for ${formatSpan(ageMs)}`,
      paths: [path],
      remove: async () => {
        await rm(path, { recursive: true, force: true });
        return 'removed';
      },
    });
  }
  return garbage;
}

async function newestChangeMs(path: string): Promise<number> {
  try {
    const stats = await lstat(path);
    const below = stats.isDirectory() ? await readdir(path) : [];
    const times = await Promise.all(below.map((name) => newestChangeMs(join(path, name))));
    return Math.max(stats.mtimeMs, ...times);
  } catch (error) {
    // Somebody is at work there.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Number.POSITIVE_INFINITY;
    throw error;
  }
}
