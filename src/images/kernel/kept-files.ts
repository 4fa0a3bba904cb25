import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { renameDurably, syncPath } from '../../store/index.ts';
import { digestOfFile, hexOf } from '../digest.ts';
import type { KeptKernelFile } from '../guest-kernel.ts';
import { lastUseOf } from './prepared-kernel.ts';
import { kernelFile, readManifest } from './stored-kernel.ts';

/** Where files that are known by their digest alone lie, and how they are called. */
const places = {
  /** Kernels that came with something else, e.g. an imported snapshot. */
  kernel: { dir: 'adopted', suffix: '.vmlinuz' },
  initramfs: { dir: 'initramfs', suffix: '.cpio' },
} as const;

type Kind = KeptKernelFile['kind'];

/** The files below a `kernels/` directory, by kind and digest. Whether they are needed is for others to say. */
export class KeptKernelFiles {
  readonly #kernelsDir: string;
  readonly #tmpDir: string;

  constructor({ kernelsDir, tmpDir }: { kernelsDir: string; tmpDir: string }) {
    this.#kernelsDir = kernelsDir;
    this.#tmpDir = tmpDir;
  }

  /** Where a file of this digest lies when it is known by that alone. */
  placeOf(kind: Kind, digest: string): string {
    const { dir, suffix } = places[kind];
    return join(this.#kernelsDir, dir, `${hexOf(digest)}${suffix}`);
  }

  /** Path of a file whose bytes have this digest; they are read. */
  async locate(kind: Kind, digest: string): Promise<string | undefined> {
    const candidates = [this.placeOf(kind, digest)];
    if (kind === 'kernel') {
      for (const { path, manifest } of await this.#releases())
        if (manifest.kernel.digest === digest) candidates.push(join(path, kernelFile));
    }
    for (const path of candidates) {
      const found = await digestOfFile(path).catch(() => undefined); // One that is not there, or damaged, is not it.
      if (found === digest) return path;
    }
    return undefined;
  }

  /** Moves a file, synced by now, to its place, so that it survives power loss. */
  async adopt(kind: Kind, digest: string, from: string): Promise<string> {
    const place = this.placeOf(kind, digest);
    await mkdir(dirname(place), { recursive: true, mode: 0o700 });
    await syncPath(this.#kernelsDir);
    await renameDurably(from, place);
    return place;
  }

  /** Marks a file as used now, for {@link list}. */
  async touch(path: string, nowMs: number): Promise<void> {
    await utimes(path, nowMs / 1000, nowMs / 1000);
  }

  async list(): Promise<KeptKernelFile[]> {
    const kept: KeptKernelFile[] = [];
    const releases = await this.#releases();
    const uses = await Promise.all(releases.map(({ path }) => lastUseOf(path)));
    for (const kind of ['kernel', 'initramfs'] as const) {
      const { dir, suffix } = places[kind];
      for (const name of await readdirIfThere(join(this.#kernelsDir, dir))) {
        const hex = name.endsWith(suffix) ? name.slice(0, -suffix.length) : '';
        if (!/^[0-9a-f]{64}$/.test(hex)) continue;
        const path = join(this.#kernelsDir, dir, name);
        const digest = `sha256:${hex}`;
        const used = uses.find((use) => use?.initramfsDigest === digest);
        kept.push({ kind, digest, path, lastUsedMs: used?.atMs ?? (await stat(path)).mtimeMs });
      }
    }
    for (const { path, manifest } of releases) {
      const { mtimeMs } = await stat(join(path, 'manifest.json'));
      kept.push({ kind: 'kernel', digest: manifest.kernel.digest, path, lastUsedMs: mtimeMs });
    }
    return kept;
  }

  /** Whole or not at all, whenever the process ends: what is left of it is in the folder for half-made files. */
  async remove({ path }: KeptKernelFile): Promise<void> {
    const away = join(this.#tmpDir, `removed-kernel-${randomUUID()}`);
    await rename(path, away);
    await syncPath(dirname(path));
    await rm(away, { recursive: true, force: true });
  }

  async #releases() {
    const found = [];
    for (const name of await readdirIfThere(this.#kernelsDir)) {
      const path = join(this.#kernelsDir, name);
      const manifest = await readManifest(path);
      if (manifest) found.push({ path, manifest });
    }
    return found;
  }
}

async function readdirIfThere(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
