import { digestFile } from '../../store/index.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import type { ArchivedImage, ArchivedSnapshot } from './archive-contents.ts';

/**
 * The digest of an image here that snapshots work with: one that an earlier import brought, or one of the same name. A
 * machine that goes on from memory has parts of the image's file in it, so that file must then be the same byte by byte; two that
 * were made of one image need not be.
 *
 * @param snapshots those of the image
 */
export async function localImage(
  context: RuntimeContext,
  { digest, sha256: squashfs }: ArchivedImage,
  snapshots: readonly Pick<ArchivedSnapshot, 'manifest'>[],
): Promise<string | undefined> {
  const imported = await context.images.find(`sha256:${squashfs}`);
  if (imported) return imported.digest;
  const named = await context.images.find(digest);
  if (!named) return undefined;
  if (snapshots.every(({ manifest }) => manifest.kind === 'disk')) return named.digest;
  const { sha256 } = await digestFile(named.rootfsPath);
  return sha256 === squashfs ? named.digest : undefined;
}
