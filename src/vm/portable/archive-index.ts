import { z } from 'zod';
import type { SnapshotManifest } from '../backend.ts';
import { idPattern } from '../ids.ts';
import { manifestName } from '../snapshot-files.ts';
import { bootArgsSchema, environmentSchema } from '../vm-spec.ts';
import { invalidArchive } from './archive-error.ts';

/** The first member, which says what the others are. */
export const indexName = 'alcove-snapshot.json';
/** The last member: SHA-256, as hex digits and a line feed, of every byte of the tar before it. */
export const checksumName = 'checksum';
/** An index is a few KiB; with hundreds of layers a few hundred. */
export const maxIndexBytes = 16 << 20;

const bytes = z.int().min(0);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const text = z.string().max(1 << 17);
const texts = z.record(text, text);
const id = z.string().regex(idPattern);
const upTo = (most: number) => z.int().min(1).max(most);
const imageConfig = z.strictObject({
  env: texts,
  user: text.exactOptional(),
  workdir: text.exactOptional(),
  entrypoint: z.array(text).exactOptional(),
  command: z.array(text).exactOptional(),
});

/** One file name: nothing that leads elsewhere, and not the name of what the runtime itself puts beside the files. */
const fileName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/)
  .refine((name) => name !== manifestName);

// Whether this host has as much is asked when a VM is made; these only keep sums of them whole numbers.
const size = {
  cpus: upTo(1 << 16),
  memoryMiB: upTo(1 << 30),
  diskMiB: upTo(1 << 30),
  network: z.enum(['none', 'user']),
};

// Loose: what a backend adds to its manifests goes along.
const manifest = z.looseObject({
  formatVersion: z.literal(1),
  backend: z.string().regex(/^[a-z][a-z0-9-]{0,62}$/),
  backendVersion: text,
  kind: z.enum(['disk', 'disk+memory']),
  imageDigest: digest,
  shape: z.looseObject(size),
  facts: texts,
  files: z.record(fileName, z.looseObject({ sizeBytes: bytes, sha256 })),
  needsParent: z.boolean(),
});

const blueprint = z.strictObject({
  image: z.strictObject({ reference: text, digest }),
  imageConfig,
  shape: z.strictObject({
    ...size,
    // By digest alone: paths of another host say nothing here.
    kernel: z.strictObject({
      kernelDigest: digest,
      initramfsDigest: digest,
      release: z.string().regex(/^[\w.+~-]{1,200}$/),
    }),
    bootArgs: bootArgsSchema,
  }),
  env: environmentSchema,
});

const schema = z.strictObject({
  format: z.literal('alcove-snapshot'),
  version: z.literal(1),
  /** The exported one, then the ancestors that it builds on, newest first. */
  snapshots: z
    .array(z.strictObject({ vmId: id, id, createdAtMs: bytes, manifest, blueprint }))
    .min(1)
    .max(10_000),
  imageConfig,
  /** The others, in the order in which they follow. */
  members: z.array(z.strictObject({ name: z.string(), sizeBytes: bytes, sha256 })),
});

/** What the index of an archive says. */
export type ArchiveIndex = z.output<typeof schema>;
export type ArchivedSnapshot = ArchiveIndex['snapshots'][number];
export type ArchiveMember = ArchiveIndex['members'][number];

/** What each member that follows the index is. */
export type MemberRole =
  | { kind: 'snapshot file'; snapshot: number; file: string }
  | { kind: 'image' | 'kernel' | 'initramfs' };

/** What must follow the index of these snapshots, in this order. */
export function rolesOf(snapshots: readonly { manifest: Pick<SnapshotManifest, 'files'> }[]): MemberRole[] {
  const files = snapshots.flatMap(({ manifest: { files } }, snapshot) =>
    Object.keys(files).map((file) => ({ kind: 'snapshot file' as const, snapshot, file })),
  );
  return [...files, { kind: 'image' }, { kind: 'kernel' }, { kind: 'initramfs' }];
}

export function memberName(role: MemberRole): string {
  switch (role.kind) {
    case 'snapshot file':
      return `snapshots/${role.snapshot}/${role.file}`;
    case 'image':
      return 'image/rootfs.squashfs';
    default:
      return `kernel/${role.kind}`;
  }
}

/** @throws AlcoveError `ArchiveInvalid` for an index that is malformed or contradicts itself */
export function parseIndex(json: string): ArchiveIndex {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw refused('is no JSON', error);
  }
  const version = (value as { version?: unknown } | null)?.version;
  if (typeof version === 'number' && version > 1) {
    throw invalidArchive(
      'refused',
      `the archive has format version ${version}; this Alcove reads version 1`,
      { member: indexName },
      { remedy: 'Import it with the Alcove that made it, or a newer one.' },
    );
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw refused(`is malformed: ${issue?.path.join('.')}: ${issue?.message}`, parsed.error);
  }
  requireConsistent(parsed.data);
  return parsed.data;
}

/** The same thing is said at several places of an index; it must be the same everywhere. */
function requireConsistent({ snapshots, members }: ArchiveIndex): void {
  const [{ blueprint: first }] = snapshots as [ArchivedSnapshot];
  snapshots.forEach(({ manifest: said, blueprint: { image, shape } }, index) => {
    const isLast = index === snapshots.length - 1;
    if (said.needsParent === isLast) throw refused('lists other ancestors than are needed');
    const { kernel } = shape;
    const facts: [string, unknown, unknown][] = [
      ['image', said.imageDigest, image.digest],
      ['image', said.imageDigest, first.image.digest],
      ['kernel', kernel.kernelDigest, first.shape.kernel.kernelDigest],
      ['initramfs', kernel.initramfsDigest, first.shape.kernel.initramfsDigest],
      ['cpus', said.shape.cpus, shape.cpus],
      ['memory', said.shape.memoryMiB, shape.memoryMiB],
      ['disk', said.shape.diskMiB, shape.diskMiB],
      ['network', said.shape.network, shape.network],
    ];
    for (const [fact, one, other] of facts)
      if (one !== other) throw refused(`names two of one ${fact}: ${one} and ${other}`);
  });
  const roles = rolesOf(snapshots);
  if (roles.length !== members.length)
    throw refused(`lists ${members.length} members instead of ${roles.length}`);
  for (const [index, role] of roles.entries()) {
    const member = members[index];
    const name = memberName(role);
    if (member?.name !== name) throw refused(`lists ${JSON.stringify(member?.name)} in place of ${name}`);
    if (role.kind === 'snapshot file') {
      const file = snapshots[role.snapshot]?.manifest.files[role.file];
      if (file?.sizeBytes !== member.sizeBytes || file.sha256 !== member.sha256)
        throw refused(`contradicts itself over ${name}`);
    } else if (role.kind !== 'image') {
      const { kernelDigest, initramfsDigest } = first.shape.kernel;
      const wanted = role.kind === 'kernel' ? kernelDigest : initramfsDigest;
      if (wanted !== `sha256:${member.sha256}`) throw refused(`contradicts itself over ${name}`);
    }
  }
}

function refused(what: string, cause?: unknown) {
  return invalidArchive('refused', `${indexName} of the archive ${what}`, { member: indexName }, { cause });
}
