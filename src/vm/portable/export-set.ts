import { createHash } from 'node:crypto';
import { AlcoveError } from '../../errors.ts';
import type { BackendCallOptions } from '../backend.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import type { SnapshotRecord } from '../snapshot-records.ts';
import { findSnapshot, lineOf, requireFiles } from '../snapshot-source.ts';
import { ensureIntact } from '../verify-snapshot.ts';
import type { SnapshotRef } from '../vm.ts';
import type { ArchiveContents, ArchivedSnapshot, ArchiveMember } from './archive-contents.ts';
import { requireAtMost, writeIndex } from './archive-index.ts';
import { zstdCompressed } from './compress.ts';
import { describeFiles, type ExportedFile, type MemberSource } from './member-sources.ts';
import { portableLabels } from './portable-labels.ts';
import { archivedImages, imagesOf, portable } from './portable-records.ts';
import {
  attachmentName,
  fileMemberName,
  groupBySha256,
  maxAttachmentBytes,
  maxPartBytes,
  maxSnapshots,
} from './set-index.ts';
import { writeArchive } from './write-archive.ts';

export interface ExportSetOptions extends BackendCallOptions {
  /** What the exporter has to say of the snapshots, up to 16 MiB. It comes first, so that an importer can refuse early. */
  attachment: Uint8Array;
  /** What else belongs to the attachment, which names it by digest. Each comes once, also when it is given twice. */
  parts?: readonly SetPart[];
}

/** Up to 512 MiB. */
export interface SetPart {
  sha256: string;
  sizeBytes: number;
  /** Called when it is its turn. */
  bytes: () => Uint8Array;
}

/**
 * Snapshots as one file for elsewhere, with all that restores need. What several of them have is in it once. They are kept from
 * being removed while they are read.
 *
 * @throws AlcoveError `SnapshotNotFound`, `SnapshotCorrupt`, `ImageNotFound`, `KernelNotFound`, `InvalidInput`, `Cancelled`
 */
export async function* exportSet(
  context: RuntimeContext,
  refs: readonly SnapshotRef[],
  options: ExportSetOptions,
): AsyncGenerator<Uint8Array> {
  const { signal, onProgress, attachment, parts = [] } = options;
  requireAtMost('bytes of an attachment', attachment.length, maxAttachmentBytes);
  for (const { sizeBytes } of parts) requireAtMost('bytes of a part', sizeBytes, maxPartBytes);
  const exported = new Map(refs.map((ref) => [ref, findSnapshot(context, ref)]));
  using _held = context.pins.holdAll(
    [...exported.values()].flatMap(({ uid, manifest }) => [uid, manifest.imageDigest]),
  );
  for (const record of exported.values()) {
    await requireFiles(context, record);
    await ensureIntact(context, record, options);
  }
  const records = inOrder(context, [...exported.values()]);
  requireAtMost('snapshots', records.length, maxSnapshots);
  const images = await imagesOf(context, records);
  const files = await describeFiles(context, { records, images }, options);
  const sources = [attachmentOf(attachment), ...sharedMembers(parts, files)];
  const asked = new Set([...exported.values()].map(({ uid }) => uid));
  const positions = new Map(records.map(({ uid }, position) => [uid, position]));
  const contents: ArchiveContents = {
    kind: 'set',
    snapshots: records.map((record) => archivedSnapshot(context, record, positions, asked)),
    images: archivedImages(records, images, files),
    members: sources.map(({ source: _, ...member }) => member),
  };
  let done = 0;
  yield* zstdCompressed(
    writeArchive(writeIndex(contents), sources, {
      signal,
      onMember: () =>
        onProgress?.(`exporting ${exported.size} snapshots: file ${++done} of ${sources.length}`),
    }),
  );
}

/** Snapshots with the ancestors they build on, each before those that it descends from. */
function inOrder(context: RuntimeContext, exported: readonly SnapshotRecord[]): SnapshotRecord[] {
  const uids = new Set(exported.flatMap((record) => lineOf(context, record).map(({ uid }) => uid)));
  // Rows are in the order of their making.
  return context.snapshots
    .all()
    .filter(({ uid }) => uids.has(uid))
    .toReversed();
}

function archivedSnapshot(
  context: RuntimeContext,
  record: SnapshotRecord,
  positions: ReadonlyMap<string, number>,
  asked: ReadonlySet<string>,
): ArchivedSnapshot {
  let above = record.parentUid;
  while (above !== undefined && !positions.has(above)) above = context.snapshots.byUid(above)?.parentUid;
  const parent = above === undefined ? undefined : positions.get(above);
  return {
    ...portable(record),
    role: asked.has(record.uid) ? 'exported' : 'ancestor',
    ...(parent !== undefined && { parent }),
    labels: portableLabels(record.labels),
  };
}

type MemberWithSource = ArchiveMember & { source: MemberSource };

function attachmentOf(bytes: Uint8Array): MemberWithSource {
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const source = { bytes: () => bytes, changed: changedPart };
  return { name: attachmentName, sizeBytes: bytes.length, sha256, uses: [{ kind: 'attachment' }], source };
}

/** Each file once, whatever it is used for. */
function sharedMembers(parts: readonly SetPart[], files: readonly ExportedFile[]): MemberWithSource[] {
  const given = [
    ...parts.map(({ sha256, sizeBytes, bytes }) => ({
      use: { kind: 'part' as const },
      sha256,
      sizeBytes,
      source: { bytes, changed: changedPart },
    })),
    ...files,
  ];
  const firsts = new Map(given.toReversed().map((file) => [file.sha256, file]));
  return [...groupBySha256(given)].map(([sha256, { uses }]) => {
    const { sizeBytes, source } = firsts.get(sha256) as (typeof given)[number];
    return { name: fileMemberName(sha256), sizeBytes, sha256, uses, source };
  });
}

function changedPart(cause?: unknown): AlcoveError {
  return new AlcoveError('Internal', 'what was to be exported has changed meanwhile', { cause });
}
