import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { linkOrCopy, storageError } from '../../store/index.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import {
  type ArchiveContents,
  type ArchivedImage,
  type ArchiveMember,
  bootDigest,
  type MemberUse,
} from './archive-contents.ts';
import { type Chosen, snapshotsOf } from './import-plan.ts';
import { localImage } from './local-image.ts';
import type { ArchiveReader } from './read-archive.ts';
import { writeSparseFile } from './sparse-file.ts';

/** What an archive brought, unpacked below `tmp/`, every byte of it compared with the archive's list. */
export interface Unpacked {
  /** Of the chosen snapshots, by position in the archive. */
  snapshotDirs: ReadonlyMap<number, string>;
  /** Paths of what is not here already, by digest: `sha256:<hex>`. */
  image: ReadonlyMap<string, string>;
  kernel: ReadonlyMap<string, string>;
  initramfs: ReadonlyMap<string, string>;
  part: ReadonlyMap<string, string>;
}

export interface UnpackOptions {
  workDir: string;
  chosen: readonly Chosen[];
  onMember: (member: ArchiveMember) => void;
}

/** Reads the rest of an archive, and writes what is needed of it. What several snapshots have is one file with several names. */
export async function unpackArchive(
  context: RuntimeContext,
  reader: ArchiveReader,
  contents: ArchiveContents,
  members: readonly ArchiveMember[],
  { workDir, chosen, onMember }: UnpackOptions,
): Promise<Unpacked> {
  const unpacking = new Unpacking(context, contents, workDir, chosen);
  await unpacking.makeDirs();
  for (const member of members) {
    onMember(member);
    const [path, ...others] = await unpacking.pathsOf(member);
    if (path === undefined) {
      for await (const _ of reader.content(member)); // It still counts for the checksum.
      continue;
    }
    await write(path, member, reader);
    for (const other of others) await linkOrCopy(path, other);
  }
  return unpacking;
}

class Unpacking implements Unpacked {
  readonly snapshotDirs = new Map<number, string>();
  readonly image = new Map<string, string>();
  readonly kernel = new Map<string, string>();
  readonly initramfs = new Map<string, string>();
  readonly part = new Map<string, string>();
  readonly #context: RuntimeContext;
  readonly #contents: ArchiveContents;
  readonly #workDir: string;
  readonly #chosen: readonly Chosen[];

  constructor(
    context: RuntimeContext,
    contents: ArchiveContents,
    workDir: string,
    chosen: readonly Chosen[],
  ) {
    this.#context = context;
    this.#contents = contents;
    this.#workDir = workDir;
    this.#chosen = chosen;
  }

  async makeDirs(): Promise<void> {
    for (const { position } of this.#chosen) {
      const dir = join(this.#workDir, `snapshot-${position}`);
      await mkdir(dir, { mode: 0o700 });
      this.snapshotDirs.set(position, dir);
    }
  }

  /** Where the bytes of a member are wanted. */
  async pathsOf({ uses, sha256 }: ArchiveMember): Promise<string[]> {
    const paths: string[] = [];
    for (const use of uses) {
      const path = await this.#pathFor(use, sha256);
      if (path !== undefined) paths.push(path);
    }
    return paths;
  }

  async #pathFor(use: MemberUse, sha256: string): Promise<string | undefined> {
    if (use.kind === 'attachment') return undefined;
    if (use.kind === 'snapshot file') {
      const dir = this.snapshotDirs.get(use.snapshot);
      return dir === undefined ? undefined : join(dir, use.file);
    }
    const digest = `sha256:${sha256}`;
    if (this[use.kind].has(digest) || !(await this.#lacks(use, digest))) return undefined;
    const path = join(this.#workDir, `${use.kind}-${sha256}`);
    this[use.kind].set(digest, path);
    return path;
  }

  /** Whether something that is chosen needs it, and the same bytes are not here. */
  async #lacks(
    use: Exclude<MemberUse, { kind: 'snapshot file' | 'attachment' }>,
    digest: string,
  ): Promise<boolean> {
    if (use.kind === 'part') return true;
    if (use.kind === 'image') {
      const image = this.#contents.images[use.image] as ArchivedImage;
      const of = snapshotsOf(this.#chosen, image);
      return of.length > 0 && (await localImage(this.#context, image, of)) === undefined;
    }
    const { kind } = use;
    if (!this.#chosen.some(({ snapshot }) => bootDigest(kind, snapshot.blueprint) === digest)) return false;
    return (await this.#context.kernels.locate(kind, digest)) === undefined;
  }
}

async function write(path: string, member: ArchiveMember, reader: ArchiveReader): Promise<void> {
  try {
    await writeSparseFile(path, reader.content(member));
    await chmod(path, 0o444); // As backends leave theirs: nobody writes it again, and a VM's own user may read it.
  } catch (error) {
    throw storageError(path, error);
  }
}
