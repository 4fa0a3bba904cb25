import { z } from 'zod';
import {
  type ArchiveContents,
  type ArchivedSnapshot,
  type ArchiveMember,
  type FileUse,
  fileUsesOf,
  nameOfUse,
  refusedIndex,
  saidOf,
} from './archive-contents.ts';
import {
  imageConfigSchema,
  memberSchema,
  requireConsistent,
  requireSameBase,
  snapshotFields,
} from './index-schemas.ts';

/** Format version 1: one snapshot. */
const schema = z.strictObject({
  format: z.literal('alcove-snapshot'),
  version: z.literal(1),
  /** The exported one, then the ancestors that it builds on, newest first. */
  snapshots: z.array(z.strictObject(snapshotFields)).min(1).max(10_000),
  imageConfig: imageConfigSchema,
  /** The others, in the order in which they follow. */
  members: z.array(memberSchema),
});

type Index = z.output<typeof schema>;

/** What the index of an archive of one snapshot looks like. */
export function snapshotIndex({ snapshots, images, members }: ArchiveContents): object {
  return {
    format: 'alcove-snapshot',
    version: 1,
    snapshots: snapshots.map(({ vmId, id, createdAtMs, manifest, blueprint }) => ({
      vmId,
      id,
      createdAtMs,
      manifest,
      blueprint,
    })),
    imageConfig: images[0]?.config ?? { env: {} },
    members: members.map(({ name, sizeBytes, sha256 }) => ({ name, sizeBytes, sha256 })),
  };
}

/** @throws ZodError when it is malformed, AlcoveError `ArchiveInvalid` when it contradicts itself */
export function readSnapshotIndex(value: unknown): ArchiveContents {
  const index = schema.parse(value);
  const [newest] = index.snapshots as [Index['snapshots'][number]];
  const last = index.snapshots.length - 1;
  const snapshots = index.snapshots.map((snapshot, position): ArchivedSnapshot => {
    if (snapshot.manifest.needsParent !== position < last)
      throw refusedIndex('lists other ancestors than are needed');
    requireConsistent(snapshot);
    requireSameBase(snapshot, newest);
    const role = position === 0 ? 'exported' : 'ancestor';
    return { ...snapshot, role, labels: {}, ...(position < last && { parent: position + 1 }) };
  });
  const uses = fileUsesOf(snapshots);
  if (uses.length !== index.members.length)
    throw refusedIndex(`lists ${index.members.length} members instead of ${uses.length}`);
  const squashfs = index.members[uses.findIndex(({ kind }) => kind === 'image')];
  const images = [
    { digest: newest.manifest.imageDigest, sha256: squashfs?.sha256 ?? '', config: index.imageConfig },
  ];
  const members = index.members.map((member, position): ArchiveMember => {
    const use = uses[position] as FileUse;
    const name = nameOfUse(use);
    if (member.name !== name) throw refusedIndex(`lists ${JSON.stringify(member.name)} in place of ${name}`);
    const { sha256, sizeBytes = member.sizeBytes } = saidOf(use, { snapshots, images });
    if (sha256 !== member.sha256 || sizeBytes !== member.sizeBytes)
      throw refusedIndex(`contradicts itself over ${name}`);
    return { ...member, uses: [use] };
  });
  return { kind: 'snapshot', snapshots, images, members };
}
