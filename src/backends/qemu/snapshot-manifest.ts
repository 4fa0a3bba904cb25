import { AlcoveError } from '../../errors.ts';
import type { CreateRequest, RestoreRequest, SnapshotManifest } from '../../vm/backend.ts';

/** Names the way a disk is kept: qcow2 layers over a blank ext4, as an overlay over the image. */
const diskLayout = 'qcow2-layers/ext4-overlay/1';

/**
 * @param memoryFacts of the memory, when the snapshot has one; a disk cares for no accelerator, processor or kernel
 */
export function snapshotManifest(
  { shape, image }: CreateRequest,
  qemuVersion: string,
  files: SnapshotManifest['files'],
  memoryFacts: Readonly<Record<string, string>> | undefined,
): SnapshotManifest {
  const { cpus, memoryMiB, diskMiB, network } = shape;
  return {
    formatVersion: 1,
    backend: 'qemu',
    backendVersion: qemuVersion,
    kind: memoryFacts ? 'disk+memory' : 'disk',
    imageDigest: image.digest,
    shape: { cpus, memoryMiB, diskMiB, network },
    facts: { diskLayout, ...memoryFacts },
    files,
    needsParent: false,
  };
}

/** @throws AlcoveError `SnapshotIncompatible`, which names the first fact that differs */
export function assertDiskRestorable({ shape, image, snapshot: { manifest } }: RestoreRequest): void {
  assertSame([
    ['format version', manifest.formatVersion, 1],
    ['backend', manifest.backend, 'qemu'],
    ['disk layout', manifest.facts.diskLayout, diskLayout],
    ['image', manifest.imageDigest, image.digest],
    ['disk size in MiB', manifest.shape.diskMiB, shape.diskMiB],
  ]);
}

/**
 * Whether memory with these facts can go on in a machine with those of now.
 *
 * @throws AlcoveError `SnapshotIncompatible`, which names the first fact that differs
 */
export function assertMemoryFits(
  kept: Readonly<Record<string, string>>,
  now: Readonly<Record<string, string>>,
): void {
  assertSame(
    Object.entries(now).map(([fact, found]) => [fact, kept[fact], found]),
    'Restore its disk alone (`--memory exclude`), or use the host it was made on.',
  );
}

function assertSame(
  facts: [fact: string, expected: string | number | undefined, found: string | number][],
  remedy?: string,
): void {
  for (const [fact, expected, found] of facts) {
    if (expected === found) continue;
    throw new AlcoveError(
      'SnapshotIncompatible',
      `the snapshot was made with another ${fact}: ${expected ?? 'unknown'}, not ${found}`,
      {
        details: { fact, expected: String(expected), found: String(found) },
        ...(remedy !== undefined && { remedy }),
      },
    );
  }
}
