import { z } from 'zod';
import { labelsSchema } from '../vm-spec.ts';
import {
  type ArchiveContents,
  type ArchivedSnapshot,
  type ArchiveMember,
  fileUsesOf,
  imageDigestsOf,
  type MemberUse,
  refOf,
  refusedIndex,
  saidOf,
} from './archive-contents.ts';
import {
  imageConfigSchema,
  memberSchema,
  requireConsistent,
  requireSameBase,
  sha256Schema,
  snapshotFields,
} from './index-schemas.ts';

/** What the exporter attached: it comes right after the index. */
export const attachmentName = 'attachment';
/** It is held in memory. */
export const maxAttachmentBytes = 16 << 20;
/** A part is held in memory, one at a time. Output of which as much is kept as can be is half of that. */
export const maxPartBytes = 2 ** 29;

export const maxSnapshots = 10_000;

/** Format version 2: a set of snapshots, each file of theirs once, under the digest of its bytes. */
const schema = z.strictObject({
  format: z.literal('alcove-snapshot'),
  version: z.literal(2),
  /** Each before those that it descends from. */
  snapshots: z
    .array(
      z.strictObject({
        ...snapshotFields,
        role: z.enum(['exported', 'ancestor']),
        parent: z.int().min(0).exactOptional(),
        labels: labelsSchema,
      }),
    )
    .max(maxSnapshots),
  images: z.array(z.strictObject({ digest: z.string(), sha256: sha256Schema, config: imageConfigSchema })),
  /** Digests of what belongs to the attachment. */
  parts: z.array(sha256Schema).max(100_000),
  /** The others, in the order in which they follow. */
  members: z.array(memberSchema).min(1),
});

type Index = z.output<typeof schema>;

/** What the index of an archive of a set looks like. */
export function setIndex({ snapshots, images, members }: ArchiveContents): object {
  return {
    format: 'alcove-snapshot',
    version: 2,
    snapshots: [...snapshots],
    images: [...images],
    parts: members.flatMap(({ uses, sha256 }) => (uses.some(({ kind }) => kind === 'part') ? [sha256] : [])),
    members: members.map(({ name, sizeBytes, sha256 }) => ({ name, sizeBytes, sha256 })),
  };
}

/** @throws ZodError when it is malformed, AlcoveError `ArchiveInvalid` when it contradicts itself */
export function readSetIndex(value: unknown): ArchiveContents {
  const { snapshots, images, parts, members } = schema.parse(value);
  for (const position of snapshots.keys()) requireFits(snapshots, position);
  if (new Set(snapshots.map(refOf)).size !== snapshots.length)
    throw refusedIndex('gives one name to two snapshots');
  const needed = new Set(
    snapshots.flatMap(({ manifest, parent }) =>
      manifest.needsParent && parent !== undefined ? [parent] : [],
    ),
  );
  if (snapshots.some(({ role }, position) => role === 'ancestor' && !needed.has(position)))
    throw refusedIndex('lists ancestors that nothing needs');
  const digests = imageDigestsOf(snapshots);
  if (images.length !== digests.length || images.some(({ digest }, i) => digest !== digests[i]))
    throw refusedIndex('lists other images than those of its snapshots');
  return {
    kind: 'set',
    snapshots,
    images,
    members: [attachmentOf(members), ...filesOf({ snapshots, images, parts }, members)],
  };
}

function requireFits(snapshots: readonly ArchivedSnapshot[], position: number): void {
  const snapshot = snapshots[position] as ArchivedSnapshot;
  const { parent, manifest } = snapshot;
  requireConsistent(snapshot);
  if (parent !== undefined && (parent <= position || parent >= snapshots.length))
    throw refusedIndex(`says that ${refOf(snapshot)} descends from what does not follow it`);
  if (!manifest.needsParent) return;
  if (parent === undefined) throw refusedIndex(`lacks what ${refOf(snapshot)} builds on`);
  requireSameBase(snapshot, snapshots[parent] as ArchivedSnapshot);
}

function attachmentOf([first]: Index['members']): ArchiveMember {
  if (first?.name !== attachmentName)
    throw refusedIndex(`lists ${JSON.stringify(first?.name)} in place of ${attachmentName}`);
  if (first.sizeBytes > maxAttachmentBytes) throw refusedIndex('lists an attachment that is too large');
  return { ...first, uses: [{ kind: 'attachment' }] };
}

/** Every file is listed once, at its first use, and nothing else is. */
function filesOf(
  { snapshots, images, parts }: Pick<ArchiveContents, 'snapshots' | 'images'> & { parts: readonly string[] },
  [, ...members]: Index['members'],
): ArchiveMember[] {
  const expected = groupBySha256([
    ...parts.map((sha256) => ({ use: { kind: 'part' as const }, sha256 })),
    ...fileUsesOf(snapshots).map((use) => ({ use, ...saidOf(use, { snapshots, images }) })),
  ]);
  if (expected.size !== members.length)
    throw refusedIndex(`lists ${members.length} files instead of ${expected.size}`);
  return [...expected].map(([sha256, { uses, sizes }], position): ArchiveMember => {
    const name = fileMemberName(sha256);
    const member = members[position] as Index['members'][number];
    if (member.name !== name) throw refusedIndex(`lists ${JSON.stringify(member.name)} in place of ${name}`);
    if (member.sha256 !== sha256 || sizes.some((sizeBytes) => sizeBytes !== member.sizeBytes))
      throw refusedIndex(`contradicts itself over ${name}`);
    if (member.sizeBytes > maxPartBytes && uses.some(({ kind }) => kind === 'part'))
      throw refusedIndex(`lists a part that is too large: ${name}`);
    return { ...member, uses };
  });
}

/** @returns in the order in which each digest first comes */
export function groupBySha256(
  files: readonly { use: MemberUse; sha256: string; sizeBytes?: number }[],
): Map<string, { uses: MemberUse[]; sizes: number[] }> {
  const groups = new Map<string, { uses: MemberUse[]; sizes: number[] }>();
  for (const { use, sha256, sizeBytes } of files) {
    const group = groups.get(sha256) ?? { uses: [], sizes: [] };
    group.uses.push(use);
    if (sizeBytes !== undefined) group.sizes.push(sizeBytes);
    groups.set(sha256, group);
  }
  return groups;
}

export function fileMemberName(sha256: string): string {
  return `files/${sha256}`;
}
