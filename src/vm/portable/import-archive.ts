import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlcoveError } from '../../errors.ts';
import { storageError } from '../../store/index.ts';
import type { BackendCallOptions } from '../backend.ts';
import { hex } from '../ids.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import type { SnapshotRecord } from '../snapshot-records.ts';
import type { ArchiveContents, ArchiveMember } from './archive-contents.ts';
import { invalidArchive } from './archive-error.ts';
import { type Chosen, chosenOf, type ImportPlan, requireFree } from './import-plan.ts';
import { placeImport } from './place-import.ts';
import { ArchiveReader } from './read-archive.ts';
import { unpackArchive } from './unpack-archive.ts';
import { untilAborted } from './until-aborted.ts';

export interface ImportArchiveOptions {
  call: BackendCallOptions;
  expected: ArchiveContents['kind'];
  /** Says what is taken in, when the index is known, and the attachment of a set. */
  choose: (contents: ArchiveContents, attachment: Uint8Array) => ImportPlan | Promise<ImportPlan>;
  /** What the reading of a member is called, for people. */
  step: (member: ArchiveMember, contents: ArchiveContents) => string;
}

/**
 * Takes in what is wanted of an archive. All of it is unpacked beside and compared with the archive's own list before anything is
 * put in its place; then it is listed at once, with images and kernels where they are not here. Whatever ends it before leaves
 * nothing.
 *
 * An archive's own word for what its images are called elsewhere is not taken: an image that is not here already is named by the
 * digest of its bytes, so that nobody gets another one when asking for that name later.
 *
 * @returns the rows of what came, in the order of the archive
 */
export async function importArchive(
  context: RuntimeContext,
  archive: AsyncIterable<Uint8Array>,
  { call, expected, choose, step }: ImportArchiveOptions,
): Promise<SnapshotRecord[]> {
  const workDir = join(context.places.tmpDir, `import-${hex(context.random(8))}`);
  const over = new AbortController();
  const signal = call.signal ? AbortSignal.any([call.signal, over.signal]) : over.signal;
  const reader = new ArchiveReader(untilAborted(archive, signal, 'importing a snapshot'));
  try {
    const contents = await reader.contents();
    requireKind(contents, expected);
    const files = [...contents.members];
    const attachment = contents.kind === 'set' ? files.shift() : undefined;
    const plan = await choose(contents, attachment ? await bytesOf(reader, attachment) : new Uint8Array());
    requireFree(
      context,
      [...plan.wanted.values()].map(({ as }) => as),
    );
    const chosen = chosenOf(contents, plan);
    // Held from before it is looked whether they are here.
    using _shared = context.pins.holdAll(sharedNames(contents, chosen));
    await mkdir(workDir, { mode: 0o700 });
    const onMember = (member: ArchiveMember) => call.onProgress?.(step(member, contents));
    const unpacked = await unpackArchive(context, reader, contents, files, { workDir, chosen, onMember });
    await reader.end();
    await context.at('import.unpacked');
    return await placeImport(context, { contents, plan, chosen, unpacked });
  } catch (error) {
    throw isAlcoveError(error) ? error : storageError(workDir, error);
  } finally {
    over.abort(); // Else closing would wait for a source that has nothing more to say.
    await reader[Symbol.asyncDispose]();
    await rm(workDir, { recursive: true, force: true });
  }
}

function requireKind({ kind }: ArchiveContents, expected: ArchiveContents['kind']): void {
  if (kind === expected) return;
  const [message, remedy] =
    kind === 'set'
      ? [
          'the archive holds a set of snapshots, with what belongs to them',
          'Import it with `alcove cache import`.',
        ]
      : [
          'the archive holds one snapshot, and says nothing of a cache',
          'Import it with `alcove snapshot import`.',
        ];
  throw invalidArchive('refused', message, {}, { remedy });
}

async function bytesOf(reader: ArchiveReader, member: ArchiveMember): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of reader.content(member)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Images and kernels that others may have here, too. */
function sharedNames({ images }: ArchiveContents, chosen: readonly Chosen[]): Set<string> {
  return new Set([
    ...images.flatMap(({ digest, sha256 }) => [digest, `sha256:${sha256}`]),
    ...chosen.flatMap(({ snapshot: { blueprint } }) => [
      blueprint.shape.kernel.kernelDigest,
      blueprint.shape.kernel.initramfsDigest,
    ]),
  ]);
}
