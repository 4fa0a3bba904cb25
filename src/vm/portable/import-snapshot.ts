import type { BackendCallOptions } from '../backend.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import type { SnapshotRecord } from '../snapshot-records.ts';
import type { SnapshotRef } from '../vm.ts';
import { type ArchivedSnapshot, refOf } from './archive-contents.ts';
import { importArchive } from './import-archive.ts';
import { requireFree } from './import-plan.ts';

export interface ImportOptions extends BackendCallOptions {
  /** What it is called here. @default as where it was exported */
  as?: SnapshotRef;
}

/**
 * Takes in what `exportSnapshot` wrote: all of it or nothing.
 *
 * @throws AlcoveError `ArchiveInvalid`, `SnapshotAlreadyExists`, `InvalidInput`, `StateUnusable`, `Cancelled`, and what
 * reading `archive` throws
 */
export async function importSnapshot(
  context: RuntimeContext,
  archive: AsyncIterable<Uint8Array>,
  { as, ...call }: ImportOptions,
): Promise<SnapshotRecord> {
  if (as !== undefined) requireFree(context, [as]); // Before it is waited for.
  let ref = as;
  const [record] = await importArchive(context, archive, {
    call,
    expected: 'snapshot',
    choose: ({ snapshots }) => {
      ref ??= refOf(snapshots[0] as ArchivedSnapshot);
      return { wanted: new Map([[0, { as: ref }]]) };
    },
    step: ({ name }) => `importing ${ref}: ${name}`,
  });
  return record as SnapshotRecord;
}
