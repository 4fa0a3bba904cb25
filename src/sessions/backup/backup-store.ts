import type { CallOptions } from '../../vm/index.ts';
import type { BackupInfo, BackupManifest } from './backup-info.ts';

/** What a backup is made of. */
export interface BackupSource {
  sessionId: string;
  /** A plain tar of the workdir, under `.`. */
  tar: AsyncIterable<Uint8Array>;
  /** Most that the tar may take, in bytes: what the guest's file system has in use. Room for it is looked for first. */
  usedBytes: number;
  facts: Pick<BackupManifest, 'workdir' | 'image' | 'versions'>;
}

/** What an archive may be to be unpacked. */
export interface ArchiveLimits {
  /** Bytes that its entries take when unpacked, holes not counted. */
  unpackedBytes: number;
  entries: number;
}

/** An archive that was read to its end once: its digest is its manifest's, where it has one, and nothing in it is refused. */
export interface VerifiedArchive {
  /** Absent when it is a file from elsewhere. */
  info?: BackupInfo;
  path: string;
  digest: string;
  /** Reads it again. @throws AlcoveError while iterating: `BackupInvalid` when it is no longer the same */
  tar(options?: CallOptions): AsyncIterable<Uint8Array>;
}

/**
 * The directory that backups lie in. Several engines may share it: of what it finds there, it touches only its own and what it is told
 * to.
 */
export interface BackupStore {
  readonly destination: string;
  /** Newest first. A directory that is not there yet has none. @throws AlcoveError `BackupFailed` when it cannot be read */
  list(options?: { sessionId?: string }): Promise<BackupInfo[]>;
  find(name: string): Promise<BackupInfo | undefined>;
  /** Compressed, digested, synced, and only then under its name. In bounded memory. @throws AlcoveError `BackupFailed`, `Cancelled`, and what reading the tar throws */
  write(source: BackupSource, options?: CallOptions): Promise<BackupInfo>;
  /**
   * Reads all of an archive and checks it.
   *
   * @param from a backup's name, or a path (it has a `/` in it) of a tar compressed with zstd
   * @throws AlcoveError `BackupNotFound`, `BackupInvalid`, `HostFile`, `Cancelled`
   */
  verify(from: string, limits: ArchiveLimits, options?: CallOptions): Promise<VerifiedArchive>;
  /** With its manifest. @throws AlcoveError `BackupNotFound` */
  remove(name: string): Promise<void>;
  /** Removes half-made files of engines of this state directory that died. Call it while nothing is being written. */
  sweep(): Promise<void>;
}
