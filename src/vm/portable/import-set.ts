import type { BackendCallOptions } from '../backend.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import type { SnapshotRef } from '../vm.ts';
import { type ArchiveContents, refOf } from './archive-contents.ts';
import { importArchive } from './import-archive.ts';
import type { ImportedSnapshots, ImportPlan, Naming } from './import-plan.ts';

export interface ImportSetOptions extends BackendCallOptions {
  /**
   * Looks at what an archive offers, before the rest of it is read, and says what is taken in and how it is called here. What is thrown ends
   * the import.
   */
  accept: (offer: SetOffer) => ReadonlyMap<SnapshotRef, Naming> | Promise<ReadonlyMap<SnapshotRef, Naming>>;
  /** Runs in the transaction that lists the snapshots, when all bytes are known to be right; what it throws takes everything back. */
  inTransaction?: (imported: ImportedSnapshots) => void;
}

/** What an archive says that it holds. Its digests fit together; whether it tells the truth, only its maker knows. */
export interface SetOffer {
  attachment: Uint8Array;
  snapshots: readonly OfferedSnapshot[];
}

export interface OfferedSnapshot {
  /** What it is called where it was exported. */
  ref: SnapshotRef;
  backend: string;
  kind: 'disk' | 'disk+memory';
  createdAtMs: number;
}

/** Takes in what is wanted of what `exportSet` wrote: all of that or nothing. */
export async function importSet(
  context: RuntimeContext,
  archive: AsyncIterable<Uint8Array>,
  { accept, inTransaction, ...call }: ImportSetOptions,
): Promise<void> {
  let done = 0;
  await importArchive(context, archive, {
    call,
    expected: 'set',
    choose: async (contents, attachment): Promise<ImportPlan> => {
      const names = await accept({ attachment, snapshots: offered(contents) });
      const wanted = new Map<number, Naming>();
      contents.snapshots.forEach((snapshot, position) => {
        const naming = snapshot.role === 'exported' ? names.get(refOf(snapshot)) : undefined;
        if (naming) wanted.set(position, naming);
      });
      return { wanted, ...(inTransaction && { inTransaction }) };
    },
    step: (_, { members }) => `importing: file ${++done} of ${members.length - 1}`,
  });
}

function offered({ snapshots }: ArchiveContents): OfferedSnapshot[] {
  return snapshots
    .filter(({ role }) => role === 'exported')
    .map((snapshot) => {
      const { manifest, createdAtMs } = snapshot;
      return { ref: refOf(snapshot), backend: manifest.backend, kind: manifest.kind, createdAtMs };
    });
}
