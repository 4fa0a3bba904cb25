import { join } from 'node:path';
import { AlcoveError, cancelled } from '../../errors.ts';
import type { Image } from '../../images/index.ts';
import { digestFile, type FileDigest } from '../../store/index.ts';
import type { BackendCallOptions } from '../backend.ts';
import { snapshotRef } from '../ids.ts';
import { type RuntimeContext, snapshotDir } from '../runtime-context.ts';
import type { SnapshotRecord } from '../snapshot-records.ts';
import { bootDigest, type FileUse, fileUsesOf, hexOf } from './archive-contents.ts';

/** Where the bytes of a member come from. */
export type MemberSource = ({ path: string } | { bytes: () => Uint8Array }) & {
  /** The error of bytes that are not, or no longer, those that are asked for. */
  changed: (cause?: unknown) => AlcoveError;
};

interface FileSource {
  path: string;
  /** What its bytes are, as far as that is known before they are read. */
  known?: { sha256: string; sizeBytes?: number };
  changed: (cause?: unknown) => AlcoveError;
}

/** What is exported: rows of snapshots with their images, as an index lists them. */
export interface Exported {
  records: readonly SnapshotRecord[];
  images: readonly Image[];
}

function sourceOf(context: RuntimeContext, { records, images }: Exported, use: FileUse): FileSource {
  if (use.kind === 'image') return imageSource(images[use.image] as Image);
  const record = records[use.snapshot] as SnapshotRecord;
  if (use.kind === 'snapshot file') return snapshotFileSource(context, record, use.file);
  return bootSource(use.kind, record);
}

function snapshotFileSource(
  context: RuntimeContext,
  { uid, vmId, id, manifest }: SnapshotRecord,
  file: string,
): FileSource {
  const ref = snapshotRef(vmId, id);
  const changed = (cause?: unknown) =>
    new AlcoveError('SnapshotCorrupt', `snapshot ${ref} is damaged: ${file} is not what it was`, {
      cause,
      details: { ref, file },
    });
  const known = manifest.files[file];
  return { path: join(snapshotDir(context, uid), file), ...(known && { known }), changed };
}

function imageSource({ rootfsPath: path }: Image): FileSource {
  const changed = (cause?: unknown) =>
    new AlcoveError('ImageNotFound', `the image ${path} has gone or changed while it was exported`, {
      cause,
    });
  return { path, changed };
}

function bootSource(kind: 'kernel' | 'initramfs', { blueprint }: SnapshotRecord): FileSource {
  const { kernelPath, initramfsPath } = blueprint.shape.kernel;
  const path = kind === 'kernel' ? kernelPath : initramfsPath;
  const changed = (cause?: unknown) =>
    new AlcoveError(
      'KernelNotFound',
      `the ${kind} ${path} that the snapshot was made with is gone, or another`,
      {
        remedy: 'Put back the file that the VM was made with.',
        cause,
      },
    );
  return { path, known: { sha256: hexOf(bootDigest(kind, blueprint)) }, changed };
}

/** A file that is exported. */
export interface ExportedFile extends FileDigest {
  use: FileUse;
  source: MemberSource;
}

/**
 * Every file that snapshots need, in the order of an archive, with its size and digest; those that no manifest describes are read.
 *
 * @throws AlcoveError `ImageNotFound`, `KernelNotFound`, `Cancelled`
 */
export async function describeFiles(
  context: RuntimeContext,
  exported: Exported,
  { signal, onProgress }: BackendCallOptions,
): Promise<ExportedFile[]> {
  const files: ExportedFile[] = [];
  for (const use of fileUsesOf(exported.records)) {
    const source = sourceOf(context, exported, use);
    const { known, path } = source;
    if (known?.sizeBytes !== undefined) {
      files.push({ use, source, sizeBytes: known.sizeBytes, sha256: known.sha256 });
      continue;
    }
    onProgress?.(`reading ${path}`);
    files.push({ use, source, ...(await read(source, signal)) });
  }
  return files;
}

async function read(
  { path, known, changed }: FileSource,
  signal: AbortSignal | undefined,
): Promise<FileDigest> {
  let found: FileDigest;
  try {
    found = await digestFile(path, signal);
  } catch (error) {
    throw signal?.aborted ? cancelled('exporting', signal) : changed(error);
  }
  if (known && found.sha256 !== known.sha256) throw changed();
  return found;
}
