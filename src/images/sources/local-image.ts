import { createReadStream } from 'node:fs';
import { stat, symlink } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import { hexOf } from '../digest.ts';
import type { ImageSource } from '../image.ts';
import { decompressed } from '../tar/decompress.ts';
import { readTar } from '../tar/tar-reader.ts';
import { readCopiedImage } from './copied-image.ts';
import type { ImageContents } from './image-contents.ts';
import { copyImage, type SkopeoContext } from './skopeo.ts';

type LocalSource = Extract<ImageSource, { kind: 'oci-layout' | 'oci-archive' | 'docker-archive' }>;

const transports = {
  'oci-layout': 'oci',
  'oci-archive': 'oci-archive',
  'docker-archive': 'docker-archive',
} as const;

/** Copies an image out of a layout or an archive and reads it. */
export async function fetchLocalImage(source: LocalSource, context: SkopeoContext): Promise<ImageContents> {
  // By another name, because the path may hold colons.
  await symlink(resolve(source.path), join(context.tmpDir, 'source'));
  const reference = source.reference === undefined ? '' : `:${source.reference}`;
  await copyImage(`${transports[source.kind]}:source${reference}`, 'copied', context);
  const contents = await readCopiedImage(join(context.tmpDir, 'copied'), context.name);
  if (source.kind !== 'docker-archive' && !(await holdsManifest(source, contents.digest, context.signal))) {
    throw new AlcoveError('ImageInvalid', `the manifest in ${source.path} is not what its digest says`);
  }
  return contents;
}

/**
 * Whether a layout has the manifest under its own digest. skopeo 1.9 compares blobs with their digests, but of a layout not
 * the manifest, so that one whose bytes were changed goes by another name than it is found under.
 */
async function holdsManifest(source: LocalSource, digest: string, signal: AbortSignal): Promise<boolean> {
  const blob = `blobs/sha256/${hexOf(digest)}`;
  if (source.kind === 'oci-layout') {
    return (await stat(join(source.path, blob)).catch(() => undefined))?.isFile() === true;
  }
  const archive = createReadStream(source.path, { highWaterMark: 1 << 20, signal });
  for await (const { entry } of readTar(decompressed(archive, signal), { endMark: 'optional' })) {
    if (entry.name.replace(/^\.\//, '') === blob) return true;
  }
  return false;
}
