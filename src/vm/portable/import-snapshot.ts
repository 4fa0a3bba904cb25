import { chmod, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlcoveError } from '../../errors.ts';
import { storageError } from '../../store/index.ts';
import type { BackendCallOptions } from '../backend.ts';
import { hex, parseSnapshotRef } from '../ids.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import type { SnapshotRecord } from '../snapshot-records.ts';
import type { SnapshotRef } from '../vm.ts';
import { type ArchiveIndex, type ArchiveMember, type MemberRole, rolesOf } from './archive-index.ts';
import { localImage } from './local-image.ts';
import { placeImport, type Unpacked } from './place-import.ts';
import { ArchiveReader } from './read-archive.ts';
import { writeSparseFile } from './sparse-file.ts';
import { untilAborted } from './until-aborted.ts';

export interface ImportOptions extends BackendCallOptions {
  /** What it is called here. @default as where it was exported */
  as?: SnapshotRef;
}

/**
 * Takes in what {@link exportSnapshot} wrote. All of it is unpacked beside and compared with the archive's own list before anything is
 * put in its place; then it is listed at once, with its image and kernel where they are not here. Whatever ends it before leaves
 * nothing.
 *
 * An archive's own word for what its image is called elsewhere is not taken: an image that is not here already is named by the
 * digest of its bytes, so that nobody gets another one when asking for that name later.
 *
 * @throws AlcoveError `ArchiveInvalid`, `SnapshotAlreadyExists`, `InvalidInput`, `StateUnusable`, `Cancelled`, and what
 * reading `archive` throws
 */
export async function importSnapshot(
  context: RuntimeContext,
  archive: AsyncIterable<Uint8Array>,
  options: ImportOptions,
): Promise<SnapshotRecord> {
  const workDir = join(context.places.tmpDir, `import-${hex(context.random(8))}`);
  const over = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, over.signal]) : over.signal;
  const reader = new ArchiveReader(untilAborted(archive, signal, 'importing a snapshot'));
  const pins: Disposable[] = [];
  try {
    if (options.as !== undefined) requireFree(context, options.as);
    const index = await reader.index();
    const [newest] = index.snapshots as [ArchiveIndex['snapshots'][number]];
    const ref = options.as ?? (`${newest.vmId}/${newest.id}` as const);
    requireFree(context, ref);
    const { kernelDigest, initramfsDigest } = newest.blueprint.shape.kernel;
    const squashfs = index.members[rolesOf(index.snapshots).findIndex(({ kind }) => kind === 'image')];
    // Held from before it is looked whether they are here.
    for (const name of [
      newest.manifest.imageDigest,
      `sha256:${squashfs?.sha256}`,
      kernelDigest,
      initramfsDigest,
    ])
      pins.push(context.pins.hold(name));
    await mkdir(workDir, { mode: 0o700 });
    const unpacked = await unpack(context, reader, index, { workDir, ref, options });
    await reader.end();
    await context.at('import.unpacked');
    return await placeImport(context, index, unpacked, ref);
  } catch (error) {
    throw isAlcoveError(error) ? error : storageError(workDir, error);
  } finally {
    over.abort(); // Else closing would wait for a source that has nothing more to say.
    await reader[Symbol.asyncDispose]();
    for (const pin of pins) pin[Symbol.dispose]();
    await rm(workDir, { recursive: true, force: true });
  }
}

/** @throws AlcoveError `SnapshotAlreadyExists`, `InvalidInput` */
export function requireFree(context: RuntimeContext, ref: SnapshotRef): void {
  const { vmId, id } = parseSnapshotRef(ref);
  context.snapshots.requireFree(vmId, id, 'Give it another name with --as VM/SNAPSHOT.');
}

async function unpack(
  context: RuntimeContext,
  reader: ArchiveReader,
  index: ArchiveIndex,
  { workDir, ref, options }: { workDir: string; ref: string; options: ImportOptions },
): Promise<Unpacked> {
  const snapshotDirs = index.snapshots.map((_, position) => join(workDir, `snapshot-${position}`));
  for (const dir of snapshotDirs) await mkdir(dir, { mode: 0o700 });
  const unpacked: Unpacked = { snapshotDirs };
  for (const [position, role] of rolesOf(index.snapshots).entries()) {
    const member = index.members[position] as ArchiveMember;
    options.onProgress?.(`importing ${ref}: ${member.name}`);
    if (role.kind === 'snapshot file') {
      await write(join(snapshotDirs[role.snapshot] as string, role.file), member, reader);
    } else if (await isHere(context, role.kind, member, index)) {
      for await (const _ of reader.content(member)); // It still counts for the checksum.
    } else {
      const path = join(workDir, role.kind);
      await write(path, member, reader);
      unpacked[role.kind] = { path, digest: `sha256:${member.sha256}` };
    }
  }
  return unpacked;
}

async function write(path: string, member: ArchiveMember, reader: ArchiveReader): Promise<void> {
  try {
    await writeSparseFile(path, reader.content(member));
    await chmod(path, 0o444); // As backends leave theirs: nobody writes it again, and a VM's own user may read it.
  } catch (error) {
    throw storageError(path, error);
  }
}

/** Whether the same bytes need not be kept again. */
async function isHere(
  context: RuntimeContext,
  kind: Exclude<MemberRole['kind'], 'snapshot file'>,
  { sha256 }: ArchiveMember,
  index: ArchiveIndex,
): Promise<boolean> {
  const digest = `sha256:${sha256}`;
  if (kind !== 'image') return (await context.kernels.locate(kind, digest)) !== undefined;
  return (await localImage(context, index, digest)) !== undefined;
}
