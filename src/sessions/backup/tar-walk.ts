import { blockSize } from '../../images/index.ts';
import { invalidBackup } from './backup-error.ts';
import type { BackupManifest, EntryCounts } from './backup-info.ts';
import type { ArchiveLimits } from './backup-store.ts';
import { EntryPaths } from './entry-paths.ts';
import { ExtendedHeader, type ExtensionKind, maxExtensionBytes } from './extended-header.ts';
import { Gathered } from './gathered.ts';
import { type MapBlocks, readSparseFile } from './sparse-file.ts';
import { readHeader, type TarHeader } from './tar-header.ts';

/** What a whole tar holds. */
export type TarTotals = Pick<BackupManifest, 'tarBytes' | 'contentBytes' | 'entries'>;

/** Zeros after the end; tar fills up its last record (10 KiB, 1 MiB with `--blocking-factor=2048`). More is a bomb. */
const maxFillBytes = 64 << 20;

/** What the next whole piece is: a header, something that belongs to one, the second block of the end, or what fills up after it. */
type Expecting =
  | { what: 'header' | 'second zero block' }
  | { what: 'extension'; kind: ExtensionKind; size: number }
  | { what: 'map block'; blocks: MapBlocks }
  | { what: 'fill' };

/**
 * Follows a tar by its bytes as they come by, in chunks of any size: ustar, GNU (long names, sparse files), pax, and v7. It keeps no
 * content, and looks at everything before the bytes that it speaks of: sizes are refused before they are read.
 *
 * A tar must end in two empty blocks, and nothing may follow them: one that `tar` did not live to finish, and that `zstd` closed
 * properly, would else be taken for whole.
 */
export class TarWalk {
  readonly #limits: ArchiveLimits;
  readonly #paths = new EntryPaths();
  readonly #counts: EntryCounts = { files: 0, directories: 0, symlinks: 0, hardLinks: 0, others: 0 };
  readonly #gathered = new Gathered();
  #expecting: Expecting = { what: 'header' };
  #extended = new ExtendedHeader();
  /** Bytes to pass over before what is expected comes. */
  #skip = 0;
  #tarBytes = 0;
  #contentBytes = 0;
  #unpackedBytes = 0;
  #headers = 0;
  #fillBytes = 0;

  /** @param limits @default none */
  constructor(
    limits: ArchiveLimits = { unpackedBytes: Number.MAX_SAFE_INTEGER, entries: Number.MAX_SAFE_INTEGER },
  ) {
    this.#limits = limits;
  }

  /** Takes the next bytes; keeps no reference to them. @throws AlcoveError `BackupInvalid` */
  push(chunk: Uint8Array): void {
    this.#tarBytes += chunk.length;
    let rest = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    while (rest.length > 0) {
      if (this.#expecting.what === 'fill') {
        this.#fill(rest);
        return;
      }
      if (this.#skip > 0) {
        const passed = Math.min(this.#skip, rest.length);
        this.#skip -= passed;
        rest = rest.subarray(passed);
        continue;
      }
      const size = this.#expecting.what === 'extension' ? padded(this.#expecting.size) : blockSize;
      const taken = this.#gathered.missing(size, rest.length);
      const piece = this.#gathered.take(rest.subarray(0, taken), size);
      rest = rest.subarray(taken);
      if (piece) this.#take(piece);
    }
  }

  /** To be called when there are no more bytes. @throws AlcoveError `BackupInvalid` */
  end(): TarTotals {
    if (this.#expecting.what !== 'fill') throw invalidBackup('cut short', 'the tar is cut short');
    return { tarBytes: this.#tarBytes, contentBytes: this.#contentBytes, entries: { ...this.#counts } };
  }

  #take(piece: Buffer): void {
    const expecting = this.#expecting;
    switch (expecting.what) {
      case 'header':
        if (isZero(piece)) this.#firstZeroBlock();
        else this.#header(readHeader(piece), piece);
        break;
      case 'second zero block':
        if (!isZero(piece)) throw invalidBackup('damaged', 'the tar goes on after its end');
        this.#expecting = { what: 'fill' };
        break;
      case 'extension':
        this.#extended.add(expecting.kind, piece.subarray(0, expecting.size));
        this.#expecting = { what: 'header' };
        break;
      case 'map block':
        this.#mapBlock(piece, expecting.blocks);
    }
  }

  #firstZeroBlock(): void {
    if (this.#extended.isOpen) throw invalidBackup('damaged', 'the tar ends where an entry must follow');
    this.#expecting = { what: 'second zero block' };
  }

  #header(own: TarHeader, block: Buffer): void {
    const { kind } = own;
    if (kind === 'pax' || kind === 'global pax' || kind === 'long name' || kind === 'long target') {
      this.#extension(kind, own.sizeBytes, own.name);
      return;
    }
    const header = this.#extended.apply(own);
    this.#oneMore(header.name);
    this.#entry(header, block, this.#extended);
    this.#extended = new ExtendedHeader();
  }

  #extension(kind: ExtensionKind, size: number, entry: string): void {
    if (kind === 'global pax') this.#oneMore(entry); // There may be any number of them.
    if (size > maxExtensionBytes)
      throw invalidBackup(
        'refused',
        `the tar has a header of ${size} bytes; more than ${maxExtensionBytes} is no honest one`,
        { entry },
      );
    this.#takesRoom(size); // Names and attributes take room when unpacked, too.
    if (size === 0) this.#extended.add(kind, Buffer.alloc(0));
    else this.#expecting = { what: 'extension', kind, size };
  }

  #entry(header: TarHeader, block: Buffer, extended: ExtendedHeader): void {
    const { kind, name } = header;
    if (kind === 'device') throw invalidBackup('refused', 'the tar has a device', { entry: name });
    const parts = this.#paths.check(name, `a ${kind}`);
    const path = extended.value('path');
    if (path !== undefined && path !== name) this.#paths.check(path, `a ${kind}`);
    const isFile = kind === 'file' || kind === 'gnu sparse file';
    if (!isFile && extended.hasSparseRecords)
      throw invalidBackup('damaged', `the tar has a ${kind} with holes`, { entry: name });
    if (kind === 'directory' || (isFile && name.endsWith('/'))) {
      // Before ustar, a slash at the end of a file's name made it a directory. What content one has is a matter of opinion.
      if (isFile && (header.sizeBytes > 0 || kind !== 'file' || extended.hasSparseRecords))
        throw invalidBackup('refused', 'the tar has a directory with content', { entry: name });
      this.#counts.directories++;
    } else if (parts.length === 0) {
      throw invalidBackup('refused', `the tar has a ${kind} in place of its directory`, { entry: name });
    } else if (isFile) {
      this.#counts.files++;
      this.#file(header, block, extended);
    } else {
      this.#withoutContent(header, parts);
    }
    if (kind === 'symlink') this.#paths.addSymlink(parts);
    else if (this.#paths.isSymlink(parts) && kind !== 'hard link')
      throw invalidBackup('refused', `the tar has a ${kind} in place of a symlink of its own`, {
        entry: name,
      });
  }

  /** Whatever size their headers say: so it is for POSIX, the guest agent and most others. */
  #withoutContent({ kind, name, target }: TarHeader, parts: readonly string[]): void {
    if (kind === 'symlink') {
      this.#counts.symlinks++;
    } else if (kind === 'hard link') {
      const to = this.#paths.check(target, 'a hard link to something', name);
      if (this.#paths.isSymlink(to)) this.#paths.addSymlink(parts); // Then that is what it is.
      this.#counts.hardLinks++;
    } else {
      this.#counts.others++;
    }
  }

  #file(header: TarHeader, block: Buffer, extended: ExtendedHeader): void {
    const { name, sizeBytes } = header;
    const sparse = readSparseFile(header, block, extended);
    this.#addContent(sparse?.realBytes ?? sizeBytes, name);
    this.#takesRoom(sizeBytes, name);
    if (sparse?.blocks) this.#expecting = { what: 'map block', blocks: sparse.blocks };
    else this.#skip = padded(sizeBytes);
  }

  #mapBlock(block: Buffer, blocks: MapBlocks): void {
    this.#takesRoom(blockSize); // A map has no end of its own.
    if (!blocks.add(block)) return;
    this.#expecting = { what: 'header' };
    this.#skip = padded(blocks.dataBytes);
  }

  #addContent(bytes: number, entry: string): void {
    if (bytes < 0 || !Number.isSafeInteger(this.#contentBytes + bytes))
      throw invalidBackup('damaged', 'the tar has a file of a size that none can have', { entry });
    this.#contentBytes += bytes;
  }

  #takesRoom(bytes: number, entry?: string): void {
    this.#unpackedBytes += bytes;
    if (this.#unpackedBytes > this.#limits.unpackedBytes)
      throw invalidBackup('too large', `the tar unpacks to more than ${this.#limits.unpackedBytes} bytes`, {
        entry,
      });
  }

  #oneMore(entry: string): void {
    if (++this.#headers > this.#limits.entries)
      throw invalidBackup('too large', `the tar has more than ${this.#limits.entries} entries`, { entry });
  }

  #fill(rest: Buffer): void {
    if (!isZero(rest)) throw invalidBackup('damaged', 'the tar goes on after its end');
    this.#fillBytes += rest.length;
    if (this.#fillBytes > maxFillBytes)
      throw invalidBackup(
        'too large',
        `the tar goes on with zeros for more than ${maxFillBytes} bytes after its end`,
      );
  }
}

const zeros = Buffer.alloc(1 << 16);

function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const part = bytes.subarray(at, at + zeros.length);
    if (!part.equals(zeros.subarray(0, part.length))) return false;
  }
  return true;
}

function padded(size: number): number {
  return Math.ceil(size / blockSize) * blockSize;
}
