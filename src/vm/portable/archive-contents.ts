import type { GuestKernel, ImageConfig } from '../../images/index.ts';
import type { MachineShape, SnapshotManifest } from '../backend.ts';
import { snapshotRef } from '../ids.ts';
import type { SnapshotRef } from '../vm.ts';
import type { VmBlueprint } from '../vm-records.ts';
import { invalidArchive } from './archive-error.ts';

/** The first member, which says what the others are. */
export const indexName = 'alcove-snapshot.json';
/** The last member: SHA-256, as hex digits and a line feed, of every byte of the tar before it. */
export const checksumName = 'checksum';

/** What the index of an archive says, whatever the version of its format. */
export interface ArchiveContents {
  /** One snapshot with the ancestors that it builds on; or a set of snapshots that share files, with an attachment. */
  kind: 'snapshot' | 'set';
  /** Each before those that it descends from. */
  snapshots: readonly ArchivedSnapshot[];
  /** Those that the snapshots are of, in the order in which they first are. */
  images: readonly ArchivedImage[];
  /** What follows the index, in this order. */
  members: readonly ArchiveMember[];
}

export interface ArchivedSnapshot {
  vmId: string;
  id: string;
  /** Whether it was asked for, or comes along because another one builds on it. */
  role: 'exported' | 'ancestor';
  /** Where the one that it descends from stands in the list; always there for one that builds on it. */
  parent?: number;
  createdAtMs: number;
  labels: Readonly<Record<string, string>>;
  manifest: SnapshotManifest;
  blueprint: PortableBlueprint;
}

/** Without what means something on one host only: a kernel is known by its digest alone. */
export interface PortableBlueprint extends Omit<VmBlueprint, 'shape'> {
  shape: Omit<MachineShape, 'kernel'> & {
    kernel: Omit<GuestKernel, 'kernelPath' | 'initramfsPath'>;
  };
}

export interface ArchivedImage {
  /** What it is called where it was exported. */
  digest: string;
  /** Of its squashfs. */
  sha256: string;
  config: ImageConfig;
}

export interface ArchiveMember {
  name: string;
  sizeBytes: number;
  sha256: string;
  /** What its bytes are. In a set, the same bytes occur once, whatever they are. */
  uses: readonly MemberUse[];
}

export type MemberUse = FileUse | { kind: 'attachment' } | { kind: 'part' };

/** A file that a snapshot cannot do without. A kernel's `snapshot` is the first that boots it. */
export type FileUse =
  | { kind: 'snapshot file'; snapshot: number; file: string }
  | { kind: 'image'; image: number }
  | { kind: 'kernel' | 'initramfs'; snapshot: number };

/** As much of a blueprint as says what is booted. */
export interface BootedBlueprint {
  shape: { kernel: Pick<GuestKernel, 'kernelDigest' | 'initramfsDigest'> };
}

/** All files that snapshots need, in the order in which an archive has them. */
export function fileUsesOf(
  snapshots: readonly { manifest: SnapshotManifest; blueprint: BootedBlueprint }[],
): FileUse[] {
  const uses: FileUse[] = snapshots.flatMap(({ manifest: { files } }, snapshot) =>
    Object.keys(files).map((file) => ({ kind: 'snapshot file' as const, snapshot, file })),
  );
  imageDigestsOf(snapshots).forEach((_, image) => void uses.push({ kind: 'image', image }));
  for (const kind of ['kernel', 'initramfs'] as const) {
    const seen = new Set<string>();
    snapshots.forEach(({ blueprint }, snapshot) => {
      const digest = bootDigest(kind, blueprint);
      if (!seen.has(digest)) uses.push({ kind, snapshot });
      seen.add(digest);
    });
  }
  return uses;
}

/** What the images of snapshots are called, in the order in which they first come. */
export function imageDigestsOf(snapshots: readonly Pick<ArchivedSnapshot, 'manifest'>[]): string[] {
  return [...new Set(snapshots.map(({ manifest }) => manifest.imageDigest))];
}

/** What the rest of an index says of a file's bytes; the size of an image or a kernel is said by its member alone. */
export function saidOf(
  use: FileUse,
  { snapshots, images }: Pick<ArchiveContents, 'snapshots' | 'images'>,
): { sha256: string; sizeBytes?: number } {
  if (use.kind === 'image') return { sha256: (images[use.image] as ArchivedImage).sha256 };
  const { manifest, blueprint } = snapshots[use.snapshot] as ArchivedSnapshot;
  if (use.kind === 'snapshot file') return manifest.files[use.file] as { sha256: string; sizeBytes: number };
  return { sha256: hexOf(bootDigest(use.kind, blueprint)) };
}

/** Names a file among those of its archive, for messages, and in an archive of one snapshot also there. */
export function nameOfUse(use: FileUse): string {
  if (use.kind === 'snapshot file') return `snapshots/${use.snapshot}/${use.file}`;
  return use.kind === 'image' ? 'image/rootfs.squashfs' : `kernel/${use.kind}`;
}

export function bootDigest(kind: 'kernel' | 'initramfs', { shape }: BootedBlueprint): string {
  return kind === 'kernel' ? shape.kernel.kernelDigest : shape.kernel.initramfsDigest;
}

export function hexOf(digest: string): string {
  return digest.slice('sha256:'.length);
}

export function refOf({ vmId, id }: Pick<ArchivedSnapshot, 'vmId' | 'id'>): SnapshotRef {
  return snapshotRef(vmId, id);
}

/** The error of an index that is malformed or contradicts itself. */
export function refusedIndex(what: string, cause?: unknown) {
  return invalidArchive('refused', `${indexName} of the archive ${what}`, { member: indexName }, { cause });
}
