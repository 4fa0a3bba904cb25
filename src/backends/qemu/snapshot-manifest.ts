import { AlcoveError } from '../../errors.ts';
import type { CreateRequest, RestoreRequest, SnapshotManifest } from '../../vm/backend.ts';

/** Names the way a disk is kept: qcow2 layers over a blank ext4, as an overlay over the image. */
const diskLayout = 'qcow2-layers/ext4-overlay/1';

export function diskSnapshotManifest(
  { shape, image }: CreateRequest,
  qemuVersion: string,
  files: SnapshotManifest['files'],
): SnapshotManifest {
  const { cpus, memoryMiB, diskMiB, network } = shape;
  return {
    formatVersion: 1,
    backend: 'qemu',
    backendVersion: qemuVersion,
    kind: 'disk',
    imageDigest: image.digest,
    shape: { cpus, memoryMiB, diskMiB, network },
    // A disk cares for no accelerator, processor or kernel.
    facts: { diskLayout },
    files,
    needsParent: false,
  };
}

/** @throws AlcoveError `SnapshotIncompatible`, which names the first fact that differs */
export function assertRestorable({ shape, image, snapshot: { manifest } }: RestoreRequest): void {
  const same: [fact: string, expected: string | number | undefined, found: string | number][] = [
    ['format version', manifest.formatVersion, 1],
    ['backend', manifest.backend, 'qemu'],
    ['kind', manifest.kind, 'disk'],
    ['disk layout', manifest.facts.diskLayout, diskLayout],
    ['image', manifest.imageDigest, image.digest],
    ['disk size in MiB', manifest.shape.diskMiB, shape.diskMiB],
  ];
  for (const [fact, expected, found] of same) {
    if (expected === found) continue;
    throw new AlcoveError(
      'SnapshotIncompatible',
      `the snapshot was made with another ${fact}: ${expected ?? 'unknown'}, not ${found}`,
      { details: { fact, expected: String(expected), found: String(found) } },
    );
  }
}
