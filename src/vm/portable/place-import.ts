import { readFileSync } from 'node:fs';
import { rename, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import type { GuestKernel, KeptKernelFile, PlacedImage } from '../../images/index.ts';
import { storageError, syncPath } from '../../store/index.ts';
import { diskUseOf } from '../disk-use.ts';
import { generateId, parseSnapshotRef, snapshotRef } from '../ids.ts';
import { type RuntimeContext, snapshotDir } from '../runtime-context.ts';
import { fileTimeMs } from '../seals.ts';
import { finishSnapshotDir, sealSnapshotFiles } from '../snapshot-files.ts';
import type { SnapshotRecord } from '../snapshot-records.ts';
import { newSnapshotUid } from '../take-snapshot.ts';
import type { SnapshotRef } from '../vm.ts';
import {
  type ArchiveContents,
  type ArchivedImage,
  type ArchivedSnapshot,
  bootDigest,
  refOf,
} from './archive-contents.ts';
import { invalidArchive } from './archive-error.ts';
import { type Chosen, type ImportedSnapshots, type ImportPlan, snapshotsOf } from './import-plan.ts';
import { localImage } from './local-image.ts';
import { portableLabels } from './portable-labels.ts';
import { type Placed, undoImport } from './undo-import.ts';
import type { Unpacked } from './unpack-archive.ts';

export interface ReadyImport {
  contents: ArchiveContents;
  plan: ImportPlan;
  /** In the order of the archive. */
  chosen: readonly Chosen[];
  unpacked: Unpacked;
}

/**
 * Puts what an import brought in its place, durably, and lists it: intent, files, rows. One import at a time, since two may bring the
 * same kernel. All is taken back when a step fails.
 *
 * @returns the rows, in the order of `chosen`
 */
export async function placeImport(context: RuntimeContext, ready: ReadyImport): Promise<SnapshotRecord[]> {
  const lane = 'placing an import'; // No VM has such an id.
  const records = await context.lanes.run(lane, lane, () => place(context, ready), undefined);
  await context.at('import.committed');
  return records;
}

async function place(context: RuntimeContext, ready: ReadyImport): Promise<SnapshotRecord[]> {
  const { unpacked, plan } = ready;
  const drafts = await draftRecords(context, ready);
  for (const draft of drafts) await finishStaged(context, stagedDir(unpacked, draft), draft);

  const images: PlacedImage[] = [];
  const done: Placed = {
    uids: drafts.map(({ uid }) => uid),
    images,
    kernelFiles: new Set([...unpacked.kernel.keys(), ...unpacked.initramfs.keys()]),
  };
  try {
    const seqs = context.database.transact(() =>
      drafts.map(({ uid, vmId }) =>
        context.journal.begin({ op: 'import', vmId, snapshotUid: uid }, context.clock.now()),
      ),
    );
    await context.at('import.journalled');
    const bootPaths = await placeBootFiles(context, ready);
    for await (const image of placeImages(context, ready)) images.push(image);
    for (const draft of drafts) await rename(stagedDir(unpacked, draft), snapshotDir(context, draft.uid));
    await syncPath(context.places.snapshotsDir);
    await context.at('import.placed');

    const records: SnapshotRecord[] = [];
    for (const { position: _, ...draft } of drafts) {
      const { uid, vmId, id, manifest } = draft;
      const dir = snapshotDir(context, uid);
      const seals = await sealSnapshotFiles({ dir, manifest, ref: snapshotRef(vmId, id) });
      const { shape, ...blueprint } = draft.blueprint;
      const kernel = bootPaths(draft.blueprint);
      records.push({ ...draft, seals, blueprint: { ...blueprint, shape: { ...shape, kernel } } });
    }
    const imported = plan.inTransaction && (await importedSnapshots(context, ready, records));
    context.database.transact(() => {
      for (const image of images) image.record();
      for (const record of records.toReversed()) context.snapshots.insert(record); // Oldest first.
      if (imported) plan.inTransaction?.(imported);
      for (const seq of seqs) context.journal.end(seq);
    });
    return records;
  } catch (error) {
    await undoImport(context, done);
    throw storageError(context.places.snapshotsDir, error);
  }
}

type Draft = Omit<SnapshotRecord, 'seals' | 'blueprint'> &
  Pick<ArchivedSnapshot, 'blueprint'> &
  Pick<Chosen, 'position'>;

/** The rows. Those that only come along get names of their own, and go with what needs them. */
async function draftRecords(
  context: RuntimeContext,
  { contents, chosen, unpacked }: ReadyImport,
): Promise<Draft[]> {
  const uids = chosen.map(() => newSnapshotUid(context));
  const imageDigests = new Map<string, string>();
  for (const image of contents.images)
    imageDigests.set(image.digest, await imageHere(context, image, chosen, unpacked));
  const drafts: Draft[] = [];
  for (const [index, { position, snapshot, naming, parent }] of chosen.entries()) {
    const { manifest, blueprint, createdAtMs, labels } = snapshot;
    const imageDigest = imageDigests.get(manifest.imageDigest) as string;
    drafts.push({
      position,
      uid: uids[index] as string,
      ...(naming
        ? parseSnapshotRef(naming.as)
        : { vmId: vmIdAbove(chosen, index), id: generateId('base', context.random) }),
      lifetime: naming ? 'kept' : 'ephemeral',
      parentUid: parent === undefined ? undefined : uids[parent],
      manifest: { ...manifest, imageDigest },
      blueprint: { ...blueprint, image: { ...blueprint.image, digest: imageDigest } },
      labels: naming ? { ...portableLabels(labels), ...naming.labels } : {},
      machineId: undefined,
      createdAtMs,
    });
  }
  return drafts;
}

/** What comes along is called after what it comes with, which stands before it. */
function vmIdAbove(chosen: readonly Chosen[], index: number): string {
  const with_ = chosen.slice(0, index).findLast(({ parent }) => parent === index) as Chosen;
  return with_.naming ? parseSnapshotRef(with_.naming.as).vmId : vmIdAbove(chosen, chosen.indexOf(with_));
}

/** What an image is called here. */
async function imageHere(
  context: RuntimeContext,
  image: ArchivedImage,
  chosen: readonly Chosen[],
  unpacked: Unpacked,
): Promise<string> {
  const named = `sha256:${image.sha256}`;
  const of = snapshotsOf(chosen, image);
  if (of.length === 0 || unpacked.image.has(named)) return named;
  const digest = await localImage(context, image, of);
  if (digest !== undefined) return digest;
  throw new AlcoveError('ImageNotFound', 'the image was removed while the snapshot was imported');
}

async function* placeImages(
  context: RuntimeContext,
  { contents, chosen, unpacked }: ReadyImport,
): AsyncGenerator<PlacedImage> {
  const [first] = chosen.flatMap(({ naming }) => naming?.as ?? []);
  for (const [digest, path] of unpacked.image) {
    const config = contents.images.find(({ sha256 }) => digest === `sha256:${sha256}`)?.config ?? { env: {} };
    yield await context.images.place({ digest, config, source: `imported with the snapshot ${first}` }, path);
  }
}

/** @returns what a snapshot boots, by paths of here */
async function placeBootFiles(
  context: RuntimeContext,
  { chosen, unpacked }: ReadyImport,
): Promise<(blueprint: ArchivedSnapshot['blueprint']) => GuestKernel> {
  const paths = new Map<string, string>();
  for (const kind of ['kernel', 'initramfs'] as const) {
    for (const digest of new Set(chosen.map(({ snapshot }) => bootDigest(kind, snapshot.blueprint))))
      paths.set(`${kind} ${digest}`, await placeBootFile(context, kind, digest, unpacked[kind].get(digest)));
  }
  return ({ shape: { kernel } }) => ({
    ...kernel,
    kernelPath: paths.get(`kernel ${kernel.kernelDigest}`) as string,
    initramfsPath: paths.get(`initramfs ${kernel.initramfsDigest}`) as string,
  });
}

async function placeBootFile(
  context: RuntimeContext,
  kind: KeptKernelFile['kind'],
  digest: string,
  unpackedPath: string | undefined,
): Promise<string> {
  if (unpackedPath !== undefined) return context.kernels.adopt(kind, digest, unpackedPath);
  const path = await context.kernels.locate(kind, digest);
  if (path !== undefined) return path;
  throw new AlcoveError('KernelNotFound', `the ${kind} was removed while the snapshot was imported`);
}

function stagedDir({ snapshotDirs }: Unpacked, { position }: Pick<Draft, 'position'>): string {
  return snapshotDirs.get(position) as string;
}

/** The files get the snapshot's own time: it is long enough ago for a seal to hold from the start. */
async function finishStaged(
  context: RuntimeContext,
  dir: string,
  { manifest, createdAtMs }: Draft,
): Promise<void> {
  const time = Math.min(createdAtMs, fileTimeMs() - 1000) / 1000;
  for (const name of Object.keys(manifest.files)) await utimes(join(dir, name), time, time);
  await finishSnapshotDir(dir, context.places.tmpDir, manifest);
}

async function importedSnapshots(
  context: RuntimeContext,
  { chosen, unpacked }: ReadyImport,
  records: readonly SnapshotRecord[],
): Promise<ImportedSnapshots> {
  const snapshots = new Map<SnapshotRef, { ref: SnapshotRef; sizeBytes: number }>();
  for (const [index, { uid }] of records.entries()) {
    const { snapshot, naming } = chosen[index] as Chosen;
    if (!naming) continue;
    const { sizeBytes } = await diskUseOf(snapshotDir(context, uid));
    snapshots.set(refOf(snapshot), { ref: naming.as, sizeBytes });
  }
  return {
    snapshots,
    part: (sha256) => {
      const path = unpacked.part.get(`sha256:${sha256}`);
      if (path === undefined)
        throw invalidArchive('refused', 'the attachment names a part that is not there');
      return readFileSync(path);
    },
  };
}
