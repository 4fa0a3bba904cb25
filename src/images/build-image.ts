import { join } from 'node:path';
import { AlcoveError } from '../errors.ts';
import type { FlightContext } from '../host/index.ts';
import { renameDurably, syncPath } from '../store/index.ts';
import { readLayers } from './layers/read-layers.ts';
import { writeSquashfs } from './layers/squashfs.ts';
import { writeTree } from './layers/write-tree.ts';
import type { ImageContents } from './sources/image-contents.ts';

export interface BuildOptions {
  tmpDir: string;
  /** Where the squashfs of a digest goes; `undefined` when it is there already. */
  place: (digest: string) => string | undefined;
  context: FlightContext;
}

/** Merges an image's layers into a squashfs, whole or not at all. `path` is where it was put, if it had to be made. */
export async function buildImage(
  contents: ImageContents,
  { tmpDir, place, context }: BuildOptions,
): Promise<{ digest: string; path: string | undefined }> {
  const { signal } = context;
  if (contents.digest !== 'of-the-tar' && place(contents.digest) === undefined) {
    return { digest: contents.digest, path: undefined };
  }
  const count = contents.layers.length;
  context.report(`applying ${count} ${count === 1 ? 'layer' : 'layers'}`);
  const merged = await readLayers(contents.layers, signal);
  const digest = contents.digest === 'of-the-tar' ? merged.layers[0]?.diffId : contents.digest;
  if (digest === undefined) throw new AlcoveError('Internal', 'an image without manifest has no tar');
  const path = place(digest);
  if (path === undefined) return { digest, path };

  context.report('writing squashfs');
  const temporary = join(tmpDir, 'rootfs.squashfs');
  await writeSquashfs(writeTree(merged, signal), {
    path: temporary,
    root: merged.tree.root.attributes,
    signal,
  });
  await syncPath(temporary);
  // Somebody else may have brought it meanwhile, with a squashfs that need not have the same bytes.
  if (place(digest) === undefined) return { digest, path: undefined };
  await renameDurably(temporary, path);
  return { digest, path };
}
