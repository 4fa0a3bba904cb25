import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { hexOf } from './digest.ts';
import type { ImageTable } from './image-table.ts';

/**
 * Makes rows and files agree after a crash: a file without a row is removed, and so is a row whose file is gone or has
 * another size than when it was made.
 *
 * @returns what was done, as sentences
 */
export async function mendImages(table: ImageTable, imagesDir: string): Promise<string[]> {
  const done: string[] = [];
  const wanted = new Set<string>();
  for (const { digest, sizeBytes, references } of table.all()) {
    const file = `${hexOf(digest)}.squashfs`;
    const found = await stat(join(imagesDir, file)).catch(() => undefined);
    if (found?.size === sizeBytes) {
      wanted.add(file);
    } else {
      table.delete(digest);
      done.push(`removed image ${references.at(-1) ?? digest}: its file is ${found ? 'damaged' : 'gone'}`);
    }
  }
  for (const file of await readdir(imagesDir)) {
    if (wanted.has(file)) continue;
    await rm(join(imagesDir, file), { recursive: true, force: true });
    done.push(`removed ${file}, which belongs to no image`);
  }
  return done;
}
