import type { PlacedImage } from '../../images/index.ts';
import type { JournalEntry } from '../journal.ts';
import { unneededKernelFiles } from '../kernel-files.ts';
import { type RuntimeContext, snapshotDir } from '../runtime-context.ts';
import { removeSnapshotDir } from '../snapshot-files.ts';

/** What an import had put in place when it failed. */
export interface Placed {
  uids: readonly string[];
  images: readonly PlacedImage[];
  /** Digests of those that were not here before. */
  kernelFiles: ReadonlySet<string>;
}

/** What cannot be taken back now stays in the journal for the next start. */
export async function undoImport(
  context: RuntimeContext,
  { uids, images, kernelFiles }: Placed,
): Promise<void> {
  try {
    for (const uid of uids) await removeSnapshotDir(snapshotDir(context, uid), context.places.snapshotsDir);
    for (const image of images) await image.discard();
    for (const file of await unneededKernelFiles(context, { ownPins: kernelFiles }))
      if (kernelFiles.has(file.digest)) await context.kernels.remove(file);
    for (const { seq, snapshotUid } of context.journal.entries())
      if (snapshotUid !== undefined && uids.includes(snapshotUid)) context.journal.end(seq);
  } catch (error) {
    context.warn(`could not clean up after an import that failed: ${(error as Error).message}`);
  }
}

/** Takes back what an engine that died had put in place of imports and not listed. Returns what was mended, in sentences for people. */
export async function finishImports(
  context: RuntimeContext,
  entries: readonly JournalEntry[],
): Promise<string[]> {
  const imports = entries.filter(({ op }) => op === 'import');
  if (imports.length === 0) return [];
  try {
    for (const { snapshotUid } of imports) {
      if (snapshotUid === undefined || context.snapshots.byUid(snapshotUid)) continue;
      await removeSnapshotDir(snapshotDir(context, snapshotUid), context.places.snapshotsDir);
    }
    for (const file of await unneededKernelFiles(context)) await context.kernels.remove(file);
  } catch (error) {
    return [`could not remove what is left of an import that was cut short: ${(error as Error).message}`];
  }
  for (const { seq } of imports) context.journal.end(seq);
  return ['removed what was there of a snapshot that was being imported when the engine ended'];
}
