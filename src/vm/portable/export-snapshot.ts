import type { BackendCallOptions } from '../backend.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import { findSnapshot, lineOf, requireFiles } from '../snapshot-source.ts';
import { ensureIntact } from '../verify-snapshot.ts';
import { type ArchiveContents, type ArchiveMember, nameOfUse } from './archive-contents.ts';
import { writeIndex } from './archive-index.ts';
import { zstdCompressed } from './compress.ts';
import { describeFiles } from './member-sources.ts';
import { archivedImages, imagesOf, portable } from './portable-records.ts';
import { writeArchive } from './write-archive.ts';

/**
 * A snapshot as one file for elsewhere: a tar, compressed with zstd, of everything that a restore needs. The same snapshot gives the
 * same bytes. It is kept from being removed while it is read.
 *
 * @throws AlcoveError `SnapshotNotFound`, `SnapshotCorrupt`, `ImageNotFound`, `KernelNotFound`, `Cancelled`
 */
export async function* exportSnapshot(
  context: RuntimeContext,
  ref: string,
  options: BackendCallOptions,
): AsyncGenerator<Uint8Array> {
  const { signal, onProgress } = options;
  const record = findSnapshot(context, ref);
  using _snapshot = context.pins.hold(record.uid);
  await requireFiles(context, record);
  using _image = context.pins.hold(record.manifest.imageDigest);
  await ensureIntact(context, record, options);
  const records = lineOf(context, record);
  const images = await imagesOf(context, [record]);
  const files = await describeFiles(context, { records, images }, options);
  const members = files.map(
    ({ use, sizeBytes, sha256 }): ArchiveMember => ({ name: nameOfUse(use), sizeBytes, sha256, uses: [use] }),
  );
  const contents: ArchiveContents = {
    kind: 'snapshot',
    snapshots: records.map((one) => ({
      ...portable(one),
      role: one === record ? 'exported' : 'ancestor',
      labels: {},
    })),
    images: archivedImages(records, images, files),
    members,
  };
  yield* zstdCompressed(
    writeArchive(
      writeIndex(contents),
      files.map(({ source }, position) => ({ ...(members[position] as ArchiveMember), source })),
      { signal, onMember: (name) => onProgress?.(`exporting ${ref}: ${name}`) },
    ),
  );
}
