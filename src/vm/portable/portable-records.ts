import { AlcoveError } from '../../errors.ts';
import type { Image } from '../../images/index.ts';
import { snapshotRef } from '../ids.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import type { SnapshotRecord } from '../snapshot-records.ts';
import type { VmBlueprint } from '../vm-records.ts';
import { type ArchivedImage, imageDigestsOf } from './archive-contents.ts';
import type { ExportedFile } from './member-sources.ts';

/** What an index says of a snapshot: without what means something on this host only. */
export function portable({ vmId, id, createdAtMs, manifest, blueprint }: SnapshotRecord) {
  return { vmId, id, createdAtMs, manifest, blueprint: portableBlueprint(blueprint) };
}

function portableBlueprint({ shape, ...blueprint }: VmBlueprint) {
  const { kernelDigest, initramfsDigest, release } = shape.kernel;
  return { ...blueprint, shape: { ...shape, kernel: { kernelDigest, initramfsDigest, release } } };
}

/** The images that snapshots are of, in the order in which they first are. @throws AlcoveError `ImageNotFound` */
export async function imagesOf(
  context: RuntimeContext,
  records: readonly SnapshotRecord[],
): Promise<Image[]> {
  const images: Image[] = [];
  for (const digest of imageDigestsOf(records)) {
    const image = await context.images.find(digest);
    if (!image) {
      const of = records.find(({ manifest }) => manifest.imageDigest === digest) as SnapshotRecord;
      const ref = snapshotRef(of.vmId, of.id);
      throw new AlcoveError('ImageNotFound', `the image ${digest} of ${ref} is gone`, {
        details: { digest },
      });
    }
    images.push(image);
  }
  return images;
}

/** What an index says of images. @param files of the archive, those of the images among them */
export function archivedImages(
  records: readonly SnapshotRecord[],
  images: readonly Image[],
  files: readonly ExportedFile[],
): ArchivedImage[] {
  const squashfs = files.filter(({ use }) => use.kind === 'image'); // In the order of the images.
  return imageDigestsOf(records).map((digest, position) => ({
    digest,
    sha256: (squashfs[position] as ExportedFile).sha256,
    config: (images[position] as Image).config,
  }));
}
