import { rename, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import type { GuestKernel, KeptKernelFile, PlacedImage } from '../../images/index.ts';
import { storageError, syncPath } from '../../store/index.ts';
import type { SnapshotManifest } from '../backend.ts';
import { generateId, parseSnapshotRef, snapshotRef } from '../ids.ts';
import type { JournalEntry } from '../journal.ts';
import { unneededKernelFiles } from '../kernel-files.ts';
import { beginJournal, type RuntimeContext, snapshotDir } from '../runtime-context.ts';
import { fileTimeMs } from '../seals.ts';
import { finishSnapshotDir, removeSnapshotDir, sealSnapshotFiles } from '../snapshot-files.ts';
import type { SnapshotRecord } from '../snapshot-records.ts';
import { newSnapshotUid } from '../take-snapshot.ts';
import type { SnapshotRef } from '../vm.ts';
import type { ArchiveIndex } from './archive-index.ts';
import { localImage } from './local-image.ts';

/** What an archive brought, unpacked below `tmp/`, every byte of it compared with the archive's list. */
export interface Unpacked {
  /** Of the snapshot, then of its ancestors. */
  snapshotDirs: readonly string[];
  /** What is not here already. */
  image?: UnpackedFile;
  kernel?: UnpackedFile;
  initramfs?: UnpackedFile;
}

interface UnpackedFile {
  path: string;
  digest: string;
}

/**
 * Puts what an import brought in its place, durably, and lists it: intent, files, rows. One import at a time, since two may bring the
 * same kernel. All is taken back when a step fails.
 */
export function placeImport(
  context: RuntimeContext,
  index: ArchiveIndex,
  unpacked: Unpacked,
  ref: SnapshotRef,
): Promise<SnapshotRecord> {
  const lane = 'placing an import'; // No VM has such an id.
  return context.lanes.run(lane, lane, () => place(context, index, unpacked, ref), undefined);
}

async function place(
  context: RuntimeContext,
  index: ArchiveIndex,
  unpacked: Unpacked,
  ref: SnapshotRef,
): Promise<SnapshotRecord> {
  const imageDigest = await imageOf(context, index, unpacked);
  const drafts = draftRecords(context, index, ref, imageDigest);
  for (const [position, { manifest, createdAtMs }] of drafts.entries())
    await finishStaged(context, unpacked.snapshotDirs[position] as string, manifest, createdAtMs);

  const seqs: number[] = [];
  const done: Placed = {
    uids: drafts.map(({ uid }) => uid),
    image: undefined,
    kernelFiles: new Set([unpacked.kernel, unpacked.initramfs].flatMap((file) => file?.digest ?? [])),
  };
  try {
    for (const { uid, vmId } of drafts)
      seqs.push(await beginJournal(context, { op: 'import', vmId, snapshotUid: uid }));
    const kernel = await placeKernel(context, index, unpacked);
    const { image } = unpacked;
    if (image) {
      const source = `imported with the snapshot ${ref}`;
      done.image = await context.images.place(
        { digest: image.digest, config: index.imageConfig, source },
        image.path,
      );
    }
    for (const [position, { uid }] of drafts.entries())
      await rename(unpacked.snapshotDirs[position] as string, snapshotDir(context, uid));
    await syncPath(context.places.snapshotsDir);
    await context.at('import.placed');

    const records: SnapshotRecord[] = [];
    for (const draft of drafts) {
      const { uid, vmId, id, manifest } = draft;
      const seals = await sealSnapshotFiles({
        dir: snapshotDir(context, uid),
        manifest,
        ref: snapshotRef(vmId, id),
      });
      const { shape, ...blueprint } = draft.blueprint;
      records.push({ ...draft, seals, blueprint: { ...blueprint, shape: { ...shape, kernel } } });
    }
    context.database.transact(() => {
      done.image?.record();
      for (const record of records.toReversed()) context.snapshots.insert(record); // Oldest first.
      for (const seq of seqs) context.journal.end(seq);
    });
    await context.at('import.committed');
    return records[0] as SnapshotRecord;
  } catch (error) {
    await undo(context, done);
    throw storageError(context.places.snapshotsDir, error);
  }
}

/** What an import had put in place when it failed. */
interface Placed {
  uids: readonly string[];
  image: PlacedImage | undefined;
  /** Digests of those that were not here before. */
  kernelFiles: ReadonlySet<string>;
}

/** What cannot be taken back now stays in the journal for the next start. */
async function undo(context: RuntimeContext, { uids, image, kernelFiles }: Placed): Promise<void> {
  try {
    for (const uid of uids) await removeSnapshotDir(snapshotDir(context, uid), context.places.snapshotsDir);
    await image?.discard();
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

type Draft = Omit<SnapshotRecord, 'seals' | 'blueprint'> &
  Pick<ArchiveIndex['snapshots'][number], 'blueprint'>;

/** The rows, the newest first: it gets the name; its ancestors get names of their own, and go with it. */
function draftRecords(
  context: RuntimeContext,
  { snapshots }: ArchiveIndex,
  ref: SnapshotRef,
  imageDigest: string,
): Draft[] {
  const { vmId, id } = parseSnapshotRef(ref);
  const uids = snapshots.map(() => newSnapshotUid(context));
  return snapshots.map(({ manifest, blueprint, createdAtMs }, position) => ({
    uid: uids[position] as string,
    vmId,
    id: position === 0 ? id : generateId('base', context.random),
    lifetime: position === 0 ? 'kept' : 'ephemeral',
    parentUid: uids[position + 1],
    manifest: { ...manifest, imageDigest } as SnapshotManifest,
    blueprint: { ...blueprint, image: { ...blueprint.image, digest: imageDigest } },
    labels: {},
    machineId: undefined,
    createdAtMs,
  }));
}

async function imageOf(context: RuntimeContext, index: ArchiveIndex, { image }: Unpacked): Promise<string> {
  if (image) return image.digest;
  const member = index.members.at(-3); // Image, kernel, initramfs.
  const digest = await localImage(context, index, `sha256:${member?.sha256}`);
  if (digest !== undefined) return digest;
  throw new AlcoveError('ImageNotFound', 'the image was removed while the snapshot was imported');
}

async function placeKernel(
  context: RuntimeContext,
  { snapshots }: ArchiveIndex,
  unpacked: Unpacked,
): Promise<GuestKernel> {
  const { kernelDigest, initramfsDigest, release } = (snapshots[0] as ArchiveIndex['snapshots'][number])
    .blueprint.shape.kernel;
  const pathOf = async (kind: KeptKernelFile['kind'], digest: string): Promise<string> => {
    const file = unpacked[kind];
    if (file) return context.kernels.adopt(kind, digest, file.path);
    const path = await context.kernels.locate(kind, digest);
    if (path !== undefined) return path;
    throw new AlcoveError('KernelNotFound', `the ${kind} was removed while the snapshot was imported`);
  };
  return {
    kernelPath: await pathOf('kernel', kernelDigest),
    kernelDigest,
    initramfsPath: await pathOf('initramfs', initramfsDigest),
    initramfsDigest,
    release,
  };
}

/** The files get the snapshot's own time: it is long enough ago for a seal to hold from the start. */
async function finishStaged(
  context: RuntimeContext,
  dir: string,
  manifest: SnapshotManifest,
  createdAtMs: number,
): Promise<void> {
  const time = Math.min(createdAtMs, fileTimeMs() - 1000) / 1000;
  for (const name of Object.keys(manifest.files)) await utimes(join(dir, name), time, time);
  await finishSnapshotDir(dir, context.places.tmpDir, manifest);
}
