import { digestFile } from '../../store/index.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import type { ArchiveIndex } from './archive-index.ts';

/**
 * The digest of an image here that the snapshot works with: one that an earlier import brought, or one of the same name. A
 * machine that goes on from memory has parts of the image's file in it, so that file must then be the same byte by byte; two that
 * were made of one image need not be.
 */
export async function localImage(
  context: RuntimeContext,
  { snapshots }: ArchiveIndex,
  squashfsDigest: string,
): Promise<string | undefined> {
  const imported = await context.images.find(squashfsDigest);
  if (imported) return imported.digest;
  const named = snapshots[0] && (await context.images.find(snapshots[0].manifest.imageDigest));
  if (!named) return undefined;
  if (snapshots.every(({ manifest }) => manifest.kind === 'disk')) return named.digest;
  const { sha256 } = await digestFile(named.rootfsPath);
  return `sha256:${sha256}` === squashfsDigest ? named.digest : undefined;
}
