import { createHash, hash } from 'node:crypto';
import type { Stats } from 'node:fs';
import { type Header, type Pack, pack } from 'tar-stream';
import { cancelled } from '../../errors.ts';
import { BufferPool } from '../buffer-pool.ts';
import { deviceMajor, deviceMinor } from './device-numbers.ts';
import { hashed } from './hashed.ts';
import {
  type Found,
  fileBytes,
  lookAhead,
  lookAtTop,
  smallBytes,
  type TreeOptions,
  treeBelow,
} from './host-tree.ts';
import { type Content, type TreeEntry, treeEntry } from './tree-entry.ts';

/** The largest owner id that a ustar header of tar-stream holds (6 octal digits); larger ones go into pax. */
const maxUstarId = 0o777_777;

type EntryHeader = Partial<Header> & Pick<Header, 'name'>;

export interface PackOptions extends TreeOptions {
  /** Name of the top entry; names below it begin with it. @default `.` for a directory, else the file's own name */
  as?: string;
  /** Whether the directory itself gets an entry; `plain`: one with mode 0755, whatever it has. @default 'include' */
  root?: 'include' | 'plain' | 'leave-out';
  /** Whether names of one file stay that, or each gets a file of its own. @default 'keep' */
  hardLinks?: 'keep' | 'separate';
  /** `borrowed`: each chunk is written over when the one after it has been asked for. @default the caller's to keep */
  chunks?: 'borrowed';
  /** Told of everything below the top (or of the file that is the top) when it has been packed; a hard link is a file. */
  onEntry?: ((entry: TreeEntry) => void) | undefined;
}

/**
 * A file or the tree below a directory as a pax tar: modes, owners, times to the nanosecond's fraction that the host
 * tells, symlinks as links, hard links among the files. Sockets are left out, and what vanishes meanwhile. A file that
 * shrinks or grows while it is read is padded with zeros, or cut, at the size it had.
 *
 * @throws AlcoveError `HostFile` while iterating, when something cannot be read; `Cancelled`
 */
export async function* packPath(
  hostPath: string,
  options: PackOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const tar = pack();
  const pool = options.chunks === 'borrowed' ? new BufferPool(smallBytes, lookAhead) : undefined;
  const packing = new Packing(tar, options, pool).all(hostPath).then(
    () => tar.finalize(),
    (error) => tar.destroy(error),
  );
  try {
    for await (const chunk of tar) {
      yield chunk as Uint8Array; // Of nothing else is a tar made.
      pool?.give(chunk as Uint8Array);
    }
  } finally {
    tar.destroy();
    await packing;
  }
}

/** A file with several names that is in the archive: under which, and what it holds where that is asked for. */
interface Linked {
  name: string;
  content: Content | undefined;
}

class Packing {
  readonly #tar: Pack;
  readonly #options: PackOptions;
  readonly #pool: BufferPool | undefined;
  /** By device and inode. */
  readonly #linked = new Map<string, Linked>();

  constructor(tar: Pack, options: PackOptions, pool: BufferPool | undefined) {
    this.#tar = tar;
    this.#options = options;
    this.#pool = pool;
  }

  async all(path: string): Promise<void> {
    const { as, root } = this.#options;
    const top = await lookAtTop(path);
    if (top.stats.isSocket()) return;
    const name = as ?? top.relative;
    if (!top.stats.isDirectory()) return this.#entry(name, top);
    if (root === 'plain') await this.#write({ ...headerOf(name, top.stats), mode: 0o755 });
    else if (root !== 'leave-out') await this.#write(headerOf(name, top.stats));
    const prefix = name === '.' ? '' : `${name}/`;
    for await (const found of treeBelow(top, this.#options, this.#pool)) {
      await this.#entry(prefix + found.relative, found);
    }
  }

  async #entry(name: string, found: Found): Promise<void> {
    const content = await this.#contents(name, found);
    this.#options.onEntry?.(treeEntry(found.relative, found, content));
  }

  /** Packs it; resolves with what a file holds where that is asked for. */
  async #contents(name: string, found: Found): Promise<Content | undefined> {
    const { stats } = found;
    const header = headerOf(name, stats);
    const inode = this.#inodeOfLinked(found);
    const first = inode === undefined ? undefined : this.#linked.get(inode);
    if (first) {
      await this.#write({ ...header, type: 'link', linkname: first.name });
      return first.content;
    }
    let content: Content | undefined;
    switch (found.kind) {
      case 'small-file': {
        const { bytes } = found;
        if (this.#options.onEntry)
          content = { sha256: hash('sha256', bytes, 'hex'), sizeBytes: bytes.length };
        await this.#write({ ...header, size: bytes.length }, once(bytes));
        break;
      }
      case 'large-file':
        content = await this.#largeFile({ ...header, size: stats.size }, found);
        break;
      case 'symlink':
        await this.#write({ ...header, linkname: found.target });
        break;
      case 'other':
        await this.#write(header);
    }
    if (inode !== undefined) this.#linked.set(inode, { name, content });
    return content;
  }

  async #largeFile(header: EntryHeader & { size: number }, { path }: Found): Promise<Content | undefined> {
    const bytes = fileBytes(path, header.size, this.#pool);
    if (!this.#options.onEntry) {
      await this.#write(header, bytes);
      return undefined;
    }
    const digest = createHash('sha256');
    await this.#write(header, hashed(bytes, digest));
    return { sha256: digest.digest('hex'), sizeBytes: header.size };
  }

  #inodeOfLinked({ stats }: Found): string | undefined {
    if (this.#options.hardLinks === 'separate' || stats.isDirectory() || stats.nlink === 1) return undefined;
    return `${stats.dev}:${stats.ino}`;
  }

  /** Adds an entry; resolves when the archive's reader has taken it. */
  #write(header: EntryHeader, body?: AsyncIterable<Uint8Array>): Promise<void> {
    return new Promise((resolve, reject) => {
      const sink = this.#tar.entry(header, (error) => (error ? reject(error) : resolve()));
      if (body) pour(body, sink, this.#options.signal).catch(reject);
      else sink.end(null);
    });
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

/** Sends all of `body`, as fast as it is taken. A sink that is destroyed reports that by itself. */
async function pour(
  body: AsyncIterable<Uint8Array>,
  sink: ReturnType<Pack['entry']>,
  signal: AbortSignal | undefined,
): Promise<void> {
  let wake = () => {};
  sink.on('drain', () => wake());
  sink.on('close', () => wake());
  for await (const chunk of body) {
    if (signal?.aborted) throw cancelled('packing', signal);
    if (sink.destroying) return;
    if (sink.write(chunk)) continue;
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
  sink.end(null);
}

function headerOf(name: string, stats: Stats): EntryHeader {
  const device = stats.isBlockDevice() || stats.isCharacterDevice();
  const pax: Record<string, string> = { mtime: (stats.mtimeMs / 1_000).toFixed(6) };
  if (stats.uid > maxUstarId) pax.uid = String(stats.uid);
  if (stats.gid > maxUstarId) pax.gid = String(stats.gid);
  return {
    name,
    type: typeOf(stats),
    mode: stats.mode & 0o7777,
    uid: Math.min(stats.uid, maxUstarId),
    gid: Math.min(stats.gid, maxUstarId),
    size: 0,
    mtime: wholeSeconds(stats.mtimeMs),
    pax,
    ...(device && { devmajor: deviceMajor(stats.rdev), devminor: deviceMinor(stats.rdev) }),
  };
}

function typeOf(stats: Stats): Header['type'] {
  if (stats.isDirectory()) return 'directory';
  if (stats.isSymbolicLink()) return 'symlink';
  if (stats.isFIFO()) return 'fifo';
  if (stats.isCharacterDevice()) return 'character-device';
  if (stats.isBlockDevice()) return 'block-device';
  return 'file';
}

/** What the header's own field can hold: tar-stream writes 31 bits. The whole truth is in pax. */
function wholeSeconds(mtimeMs: number): Date {
  return new Date(Math.min(Math.max(mtimeMs, 0), 0x7fff_ffff * 1_000));
}
