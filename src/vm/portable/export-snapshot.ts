import { join } from 'node:path';
import { AlcoveError, cancelled } from '../../errors.ts';
import { digestFile, type FileDigest } from '../../store/index.ts';
import type { BackendCallOptions } from '../backend.ts';
import { snapshotRef } from '../ids.ts';
import { type RuntimeContext, snapshotDir } from '../runtime-context.ts';
import type { SnapshotRecord } from '../snapshot-records.ts';
import { findSnapshot, lineOf, requireFiles } from '../snapshot-source.ts';
import { ensureIntact } from '../verify-snapshot.ts';
import type { VmBlueprint } from '../vm-records.ts';
import { type ArchiveIndex, type MemberRole, memberName, parseIndex, rolesOf } from './archive-index.ts';
import { zstdCompressed } from './compress.ts';
import { type MemberSource, writeArchive } from './write-archive.ts';

/**
 * A snapshot as one file for elsewhere: a tar, compressed with zstd, of everything that a restore needs. The same snapshot gives the
 * same bytes. It is kept from being removed while it is read.
 *
 * @throws AlcoveError `SnapshotNotFound`, `SnapshotCorrupt`, `ImageNotFound`, `KernelNotFound`, `Cancelled`
 */
export async function* exportSnapshot(
  context: RuntimeContext,
  ref: string,
  options: BackendCallOptions,
): AsyncGenerator<Uint8Array> {
  const { signal, onProgress } = options;
  const record = findSnapshot(context, ref);
  using _snapshot = context.pins.hold(record.uid);
  await requireFiles(context, record);
  using _image = context.pins.hold(record.manifest.imageDigest);
  await ensureIntact(context, record, options);
  const line = lineOf(context, record);
  const image = await context.images.find(record.blueprint.image.digest);
  if (!image) {
    throw new AlcoveError('ImageNotFound', `the image ${record.blueprint.image.digest} of ${ref} is gone`, {
      details: { digest: record.blueprint.image.digest },
    });
  }
  const members: ArchiveIndex['members'] = [];
  const sources: MemberSource[] = [];
  for (const role of rolesOf(line)) {
    const source = sourceOfMember(context, line, role, image.rootfsPath);
    const known = role.kind === 'snapshot file' ? line[role.snapshot]?.manifest.files[role.file] : undefined;
    if (!known) onProgress?.(`reading ${source.path}`);
    const { sizeBytes, sha256 } = known ?? (await look(source, signal));
    members.push({ name: memberName(role), sizeBytes, sha256 });
    sources.push(source);
  }
  // Read back before it is written: what an import would refuse is not exported.
  const index = parseIndex(
    JSON.stringify({
      format: 'alcove-snapshot',
      version: 1,
      snapshots: line.map(({ vmId, id, createdAtMs, manifest, blueprint }) => ({
        vmId,
        id,
        createdAtMs,
        manifest,
        blueprint: portable(blueprint),
      })),
      imageConfig: image.config,
      members,
    }),
  );
  yield* zstdCompressed(
    writeArchive(index, sources, {
      signal,
      onMember: (name) => onProgress?.(`exporting ${ref}: ${name}`),
    }),
  );
}

/** Without what means something on this host only. */
function portable({ shape, ...blueprint }: VmBlueprint) {
  const { kernelDigest, initramfsDigest, release } = shape.kernel;
  return { ...blueprint, shape: { ...shape, kernel: { kernelDigest, initramfsDigest, release } } };
}

function sourceOfMember(
  context: RuntimeContext,
  line: readonly SnapshotRecord[],
  role: MemberRole,
  rootfsPath: string,
): MemberSource {
  const [newest] = line;
  if (role.kind === 'snapshot file') {
    const of = line[role.snapshot] as SnapshotRecord;
    const ref = snapshotRef(of.vmId, of.id);
    return {
      path: join(snapshotDir(context, of.uid), role.file),
      changed: (cause) =>
        new AlcoveError('SnapshotCorrupt', `snapshot ${ref} is damaged: ${role.file} is not what it was`, {
          cause,
          details: { ref, file: role.file },
        }),
    };
  }
  if (role.kind === 'image') {
    return {
      path: rootfsPath,
      changed: (cause) =>
        new AlcoveError(
          'ImageNotFound',
          `the image ${rootfsPath} has gone or changed while it was exported`,
          { cause },
        ),
    };
  }
  const { kernel } = (newest as SnapshotRecord).blueprint.shape;
  const path = role.kind === 'kernel' ? kernel.kernelPath : kernel.initramfsPath;
  const sha256 = (role.kind === 'kernel' ? kernel.kernelDigest : kernel.initramfsDigest).slice(
    'sha256:'.length,
  );
  return {
    path,
    sha256,
    changed: (cause) =>
      new AlcoveError(
        'KernelNotFound',
        `the ${role.kind} ${path} that the snapshot was made with is gone, or another`,
        {
          remedy: 'Put back the file that the VM was made with.',
          cause,
        },
      ),
  };
}

/** Size and digest of a file that no manifest describes. */
async function look(
  { path, sha256: expected, changed }: MemberSource,
  signal: AbortSignal | undefined,
): Promise<FileDigest> {
  let found: FileDigest;
  try {
    found = await digestFile(path, signal);
  } catch (error) {
    throw signal?.aborted ? cancelled('exporting', signal) : changed(error);
  }
  if (expected !== undefined && found.sha256 !== expected) throw changed();
  return found;
}
