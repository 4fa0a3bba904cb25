import { AlcoveError } from '../../errors.ts';
import { parseSnapshotRef } from '../ids.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import type { SnapshotRef } from '../vm.ts';
import type { ArchiveContents, ArchivedImage, ArchivedSnapshot } from './archive-contents.ts';

/** What of an archive is taken in, and how it is called here. */
export interface ImportPlan {
  /** By position in the archive; what these build on comes along under names of its own. */
  wanted: ReadonlyMap<number, Naming>;
  /** Runs in the transaction that lists what came; nothing comes when it throws. */
  inTransaction?: (imported: ImportedSnapshots) => void;
}

export interface Naming {
  as: SnapshotRef;
  labels?: Readonly<Record<string, string>>;
}

/** What an import brought. */
export interface ImportedSnapshots {
  /** By the names that they have in the archive. */
  readonly snapshots: ReadonlyMap<SnapshotRef, { ref: SnapshotRef; sizeBytes: number }>;
  /** The bytes of a part. @throws AlcoveError `ArchiveInvalid` when the archive has none of that digest */
  part(sha256: string): Buffer;
}

/** A snapshot of the archive that gets a row here. */
export interface Chosen {
  position: number;
  snapshot: ArchivedSnapshot;
  /** Absent of one that only comes along. */
  naming?: Naming;
  /** Where the nearest one that it descends from stands among those that are chosen. */
  parent?: number;
}

/** Those that are wanted, and what they build on, in the order of the archive. */
export function chosenOf({ snapshots }: ArchiveContents, { wanted }: ImportPlan): Chosen[] {
  const positions = new Set<number>();
  for (const position of wanted.keys()) {
    for (let at: number | undefined = position; at !== undefined && !positions.has(at); ) {
      positions.add(at);
      const { manifest, parent }: ArchivedSnapshot = snapshots[at] as ArchivedSnapshot;
      at = manifest.needsParent ? parent : undefined;
    }
  }
  const sorted = [...positions].sort((a, b) => a - b);
  const indexes = new Map(sorted.map((position, index) => [position, index]));
  return sorted.map((position) => {
    const snapshot = snapshots[position] as ArchivedSnapshot;
    let above = snapshot.parent;
    while (above !== undefined && !positions.has(above)) above = snapshots[above]?.parent;
    const parent = above === undefined ? undefined : indexes.get(above);
    const naming = wanted.get(position);
    return {
      position,
      snapshot,
      ...(naming && { naming }),
      ...(parent !== undefined && { parent }),
    };
  });
}

/** The snapshots among those that are chosen that are of an image. */
export function snapshotsOf(chosen: readonly Chosen[], { digest }: ArchivedImage): ArchivedSnapshot[] {
  return chosen.flatMap(({ snapshot }) => (snapshot.manifest.imageDigest === digest ? [snapshot] : []));
}

/** @throws AlcoveError `SnapshotAlreadyExists`, `InvalidInput` */
export function requireFree(context: RuntimeContext, refs: Iterable<SnapshotRef>): void {
  const seen = new Set<SnapshotRef>();
  for (const ref of refs) {
    const { vmId, id } = parseSnapshotRef(ref);
    context.snapshots.requireFree(vmId, id, 'Give it another name with --as VM/SNAPSHOT.');
    if (seen.has(ref))
      throw new AlcoveError('SnapshotAlreadyExists', `two snapshots are to be called ${ref}`, {
        details: { ref },
      });
    seen.add(ref);
  }
}
