import { readdir, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Keepsake, Keepsakes } from '../../vm/backend.ts';
import type { MemoryImages } from './memory/index.ts';
import type { Templates } from './templates.ts';

const blankName = /^blank-ext4-(\d+)MiB-\d+\.qcow2$/;

/** Templates, memory images and blank disks: all of them only make the next start fast. */
export class QemuKeepsakes implements Keepsakes {
  readonly #templatesDir: string;
  readonly #templates: Templates;
  readonly #images: MemoryImages;

  constructor(templatesDir: string, templates: Templates, images: MemoryImages) {
    this.#templatesDir = templatesDir;
    this.#templates = templates;
    this.#images = images;
  }

  async list(): Promise<Keepsake[]> {
    const images = (await this.#images.list()).map(
      ({ held, key, lastUsedMs, path }): Keepsake => ({
        name: `memory-${key}`,
        kind: 'memory-image',
        of: `memory that machines are mapped from, ${key.slice(0, 12)}`,
        paths: [path],
        lastUsedMs,
        neededBy: held ? 'a machine that is mapped from it' : undefined,
      }),
    );
    return [...(await this.#templates.list()), ...images, ...(await this.#blanks())];
  }

  async remove(name: string): Promise<boolean> {
    if (name.startsWith('memory-')) return this.#images.remove(name.slice('memory-'.length));
    if (name.startsWith('template-')) return this.#templates.remove(name);
    if (basename(name) !== name || !blankName.test(name)) return false;
    await rm(join(this.#templatesDir, name), { force: true }); // Every disk has its own name for it.
    return true;
  }

  async #blanks(): Promise<Keepsake[]> {
    const found: Keepsake[] = [];
    for (const name of await readdir(this.#templatesDir)) {
      const size = blankName.exec(name)?.[1];
      if (size === undefined) continue;
      const path = join(this.#templatesDir, name);
      const { atimeMs, mtimeMs, nlink } = await stat(path);
      found.push({
        name,
        kind: 'blank-disk',
        of: `an empty disk of ${size} MiB`,
        paths: [path],
        lastUsedMs: Math.max(atimeMs, mtimeMs),
        neededBy: nlink > 1 ? 'disks that are made on it' : undefined,
      });
    }
    return found;
  }
}
