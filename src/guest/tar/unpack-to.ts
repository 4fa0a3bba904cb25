import { mkdir, realpath } from 'node:fs/promises';
import type { Header } from 'tar-stream';
import { AlcoveError } from '../../errors.ts';
import { errnoOf, hostFileError } from './host-file-error.ts';
import { type Entry, readEntries } from './read-entries.ts';
import { type SparseFile, sparseFile, sparsePieces } from './sparse-body.ts';
import { badEntry, entryParts } from './tar-names.ts';
import { type Metadata, UnpackedTree, writeAll } from './unpacked-tree.ts';

export interface UnpackLimits {
  /** @default 1,000,000 */
  maxEntries?: number;
  /** Of all files together. @default 64 GiB */
  maxBytes?: number;
}

export interface UnpackOptions {
  signal?: AbortSignal | undefined;
  limits?: UnpackLimits | undefined;
  /** The archive is one entry that is no directory, and gets this name. */
  as?: string;
  /**
   * `keep`: owners as the archive has them, and set-user-id bits; only root may ask for that. `mine`: everything belongs
   * to whoever runs this. @default 'mine'
   */
  owners?: 'keep' | 'mine';
}

const defaultMaxEntries = 1_000_000;
const defaultMaxBytes = 64 * 2 ** 30;

/** The latest time that ext4 has: 34 bits of seconds. */
const maxMtimeMs = (2 ** 34 - 1) * 1_000;

/** Of all names together: they are remembered until the end. */
const maxNameBytes = 256 * 2 ** 20;

/**
 * Unpacks a tar stream below a directory of the host, which is made when absent (its parent must be there). Existing
 * files are replaced, each at once; directories are merged.
 *
 * Nothing is read or written outside: refused are names that are absolute or contain `..`, names that pass through a
 * link, links that lead out, hard links to what is not of this archive, devices and fifos. What was unpacked before
 * the refusal stays.
 *
 * @throws AlcoveError `InvalidInput` naming the entry, `HostFile`, `Cancelled`, and what the stream itself throws
 */
export async function unpackTo(
  hostDir: string,
  tar: AsyncIterable<Uint8Array>,
  options: UnpackOptions = {},
): Promise<void> {
  const { signal, owners = 'mine' } = options;
  if (owners === 'keep' && process.geteuid?.() !== 0) {
    throw new AlcoveError('InvalidInput', 'only root can keep the owners of files', {
      remedy: 'Copy without keeping owners, or run as root.',
      details: { field: 'owners' },
    });
  }
  const { root, made } = await openRoot(hostDir);
  const tree = new UnpackedTree(root, { made, owners });
  const counter = new Counter(options.limits ?? {});
  await readEntries(tar, signal, async (entry) => {
    const sparse = sparseFile(entry.header);
    const { header } = entry;
    const parts = counter.entry(sparse ? { ...header, ...sparse } : header, options.as);
    if (sparse) await addSparseFile(tree, parts, entry, sparse);
    else await addEntry(tree, parts, entry);
  });
  await tree.finish();
}

async function openRoot(hostDir: string): Promise<{ root: string; made: 'now' | 'before' }> {
  try {
    await mkdir(hostDir);
    return { root: await realpath(hostDir), made: 'now' };
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw hostFileError(hostDir, error);
    return { root: await realpath(hostDir), made: 'before' };
  }
}

/** Counts what an archive has, and gives each entry its place. */
class Counter {
  readonly #maxEntries: number;
  readonly #maxBytes: number;
  #entries = 0;
  #bytes = 0;
  #nameBytes = 0;

  constructor({ maxEntries = defaultMaxEntries, maxBytes = defaultMaxBytes }: UnpackLimits) {
    this.#maxEntries = maxEntries;
    this.#maxBytes = maxBytes;
  }

  /** The parts of the entry's name. @throws AlcoveError `InvalidInput` beyond a limit */
  entry(header: Header, as: string | undefined): string[] {
    const { name, size } = header;
    if (++this.#entries > this.#maxEntries) throw badEntry(name, `is one more than ${this.#maxEntries}`);
    this.#nameBytes += name.length;
    if (this.#nameBytes > maxNameBytes) throw badEntry(name, 'comes after too many long names');
    this.#bytes += size;
    if (this.#bytes > this.#maxBytes)
      throw badEntry(name, `makes the files larger than ${this.#maxBytes} bytes`);
    if (as === undefined) return entryParts(name);
    if (this.#entries > 1) throw badEntry(name, 'comes where one file was expected');
    if (header.type === 'directory') throw badEntry(name, 'is a directory where a file was expected');
    return [as];
  }
}

function metadataOf(header: Header): Metadata {
  const { mode, uid, gid } = header;
  return { mode, uid, gid, mtimeMs: mtimeOf(header) };
}

async function addSparseFile(
  tree: UnpackedTree,
  parts: string[],
  entry: Entry,
  sparse: SparseFile,
): Promise<void> {
  if (entry.header.type !== 'file') throw badEntry(sparse.name, 'is sparse and no file');
  await tree.file(sparse.name, parts, metadataOf(entry.header), async (file) => {
    for await (const { at, bytes } of sparsePieces(sparse, entry as AsyncIterable<Uint8Array>)) {
      await writeAll(file, bytes, at);
    }
    await file.truncate(sparse.size);
  });
}

async function addEntry(tree: UnpackedTree, parts: string[], entry: Entry): Promise<void> {
  const { name, type, linkname } = entry.header;
  const metadata = metadataOf(entry.header);
  switch (type) {
    case 'file':
    case 'contiguous-file':
      return tree.file(name, parts, metadata, async (file) => {
        for await (const chunk of entry as AsyncIterable<Uint8Array>) await writeAll(file, chunk);
      });
    case 'directory':
      return tree.directory(name, parts, metadata);
    case 'symlink':
      return tree.symlink(name, parts, metadata, linkname ?? '');
    case 'link':
      return tree.hardLink(name, parts, linkname ?? '');
    default:
      throw badEntry(name, `is of a kind that is not unpacked (${type ?? 'unknown'})`);
  }
}

/** The time in pax where there is one, for it has fractions; kept to what a filesystem can hold. */
function mtimeOf(header: Header): number {
  const pax = header.pax as Record<string, unknown> | null | undefined;
  const precise = typeof pax?.mtime === 'string' ? Number(pax.mtime) * 1_000 : Number.NaN;
  const ms = Number.isFinite(precise) ? precise : header.mtime.getTime();
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), maxMtimeMs) : 0;
}
