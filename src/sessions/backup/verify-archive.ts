import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { AlcoveError, isAlcoveError } from '../../errors.ts';
import { readZstd } from '../../images/index.ts';
import { digestFile } from '../../store/index.ts';
import { type CallOptions, untilAborted } from '../../vm/index.ts';
import { backupNotFound, invalidBackup } from './backup-error.ts';
import type { BackupInfo, BackupManifest } from './backup-info.ts';
import type { ArchiveLimits, VerifiedArchive } from './backup-store.ts';
import { openRegular } from './open-regular.ts';
import { type TarTotals, TarWalk } from './tar-walk.ts';

/** Bytes that are read at once; a few times as many are held, until they are collected. */
const readBytes = 64 << 10;

/** An archive to look at: a backup, or a file from elsewhere. */
export interface ArchivePlace {
  path: string;
  info?: BackupInfo;
}

/** Reads all of it. @throws AlcoveError `BackupNotFound`, `BackupInvalid`, `HostFile`, `Cancelled` */
export async function verifyArchive(
  place: ArchivePlace,
  limits: ArchiveLimits,
  options: CallOptions,
): Promise<VerifiedArchive> {
  const { path, info } = place;
  const manifest = info?.manifest;
  let found: ReadToEnd & TarTotals;
  try {
    found = await readWhole(place, limits, manifest, options);
  } catch (error) {
    if (manifest && isAlcoveError(error, 'BackupInvalid')) await blameDigest(place, manifest, error, options);
    throw error;
  }
  if (manifest) compare(place, manifest, found);
  const { digest, fileBytes, tarBytes } = found;
  return {
    ...(info && { info }),
    path,
    digest,
    tar: (again = {}) => sameTar(place, { digest, fileBytes, tarBytes }, again),
  };
}

/** What is known of a file of which all was read. */
type ReadToEnd = Pick<BackupManifest, 'digest' | 'fileBytes'>;

async function readWhole(
  place: ArchivePlace,
  limits: ArchiveLimits,
  manifest: BackupManifest | undefined,
  options: CallOptions,
): Promise<ReadToEnd & TarTotals> {
  await using file = await openArchive(place);
  const { size } = await reading(place.path, () => file.stat());
  if (manifest && size !== manifest.fileBytes) {
    throw invalidBackup(
      size < manifest.fileBytes ? 'cut short' : 'damaged',
      `${place.path} has ${size} bytes, and had ${manifest.fileBytes} when it was made`,
    );
  }
  const bytes = new DigestedFile(file, place.path);
  const walk = new TarWalk(limits);
  for await (const chunk of uncompressed(bytes, options)) walk.push(chunk);
  return { ...bytes.end(), ...walk.end() };
}

/** Reads it again, and keeps back its last chunk until it is known that these were the bytes that were verified. */
async function* sameTar(
  place: ArchivePlace,
  verified: ReadToEnd & Pick<TarTotals, 'tarBytes'>,
  options: CallOptions,
): AsyncGenerator<Uint8Array> {
  const changed = (cause?: unknown) =>
    invalidBackup('damaged', `${place.path} has changed since it was verified`, { cause });
  await using file = await openArchive(place);
  const { size } = await reading(place.path, () => file.stat());
  if (size !== verified.fileBytes) throw changed();
  const bytes = new DigestedFile(file, place.path);
  let last: Uint8Array | undefined;
  let tarBytes = 0;
  try {
    for await (const chunk of uncompressed(bytes, options)) {
      tarBytes += chunk.length;
      if (tarBytes > verified.tarBytes) throw changed();
      if (last) yield last;
      last = chunk;
    }
  } catch (error) {
    throw isAlcoveError(error, 'BackupInvalid') ? changed(error) : error;
  }
  if (tarBytes !== verified.tarBytes || bytes.end().digest !== verified.digest) throw changed();
  if (last) yield last;
}

/** Where both the content and the digest are wrong, the digest is the reason: the file is not the one that was made. */
async function blameDigest(
  { path }: ArchivePlace,
  manifest: BackupManifest,
  cause: AlcoveError<'BackupInvalid'>,
  { signal }: CallOptions,
): Promise<void> {
  if (cause.details?.problem === 'cut short') return;
  const { sha256 } = await digestFile(path, signal).catch((error: unknown) => ({ sha256: undefined, error }));
  if (sha256 !== undefined && `sha256:${sha256}` !== manifest.digest) throw otherDigest(path, cause);
}

function compare({ path }: ArchivePlace, manifest: BackupManifest, found: ReadToEnd & TarTotals): void {
  if (found.digest !== manifest.digest) throw otherDigest(path);
  const differs = (what: string) =>
    invalidBackup('damaged', `the manifest of ${path} is damaged: ${what} is not what is in the archive`);
  for (const what of ['fileBytes', 'tarBytes', 'contentBytes'] as const) {
    if (found[what] !== manifest[what]) throw differs(what);
  }
  for (const [what, count] of Object.entries(found.entries)) {
    if (manifest.entries[what as keyof typeof found.entries] !== count)
      throw differs(`the number of ${what}`);
  }
}

function otherDigest(path: string, cause?: unknown) {
  return invalidBackup('damaged', `${path} is damaged: its digest is another than when it was made`, {
    cause,
  });
}

async function openArchive({ path, info }: ArchivePlace): Promise<FileHandle> {
  // A symlink among the backups would lead out of their directory; one that the caller named is where the caller wants to go.
  const file = await reading(path, () => openRegular(path, info ? 'not followed' : 'followed'));
  if (file) return file;
  if (info) throw backupNotFound(info.name, 'it is gone');
  throw new AlcoveError('HostFile', `${path} is not there, or no regular file`, { details: { path } });
}

/** The tar in it; what is wrong with the compressed bytes in words for backups. */
async function* uncompressed(bytes: DigestedFile, { signal }: CallOptions): AsyncGenerator<Uint8Array> {
  const chunks = bytes.chunks();
  const stoppable = signal ? untilAborted(chunks, signal, `reading ${bytes.path}`) : chunks;
  try {
    yield* readZstd(stoppable);
  } catch (error) {
    if (!isAlcoveError(error, 'ImageInvalid')) throw error;
    const problem = error.details?.problem === 'cut short' ? 'cut short' : 'damaged';
    throw invalidBackup(
      problem,
      `${bytes.path} is ${problem}, or not compressed with zstd: ${error.message}`,
      {
        cause: error,
      },
    );
  }
}

/** The bytes of a file, with their number and digest when all were read. */
class DigestedFile {
  readonly path: string;
  readonly #file: FileHandle;
  readonly #hash = createHash('sha256');
  #fileBytes = 0;

  constructor(file: FileHandle, path: string) {
    this.#file = file;
    this.path = path;
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const buffer = Buffer.allocUnsafe(readBytes);
      const { bytesRead } = await reading(this.path, () => this.#file.read(buffer, 0, readBytes, null));
      if (bytesRead === 0) return;
      const chunk = buffer.subarray(0, bytesRead);
      this.#hash.update(chunk);
      this.#fileBytes += bytesRead;
      yield chunk;
    }
  }

  end(): ReadToEnd {
    return { digest: `sha256:${this.#hash.digest('hex')}`, fileBytes: this.#fileBytes };
  }
}

async function reading<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isAlcoveError(error)) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new AlcoveError('HostFile', `cannot read ${path}: ${message}`, {
      cause: error,
      details: { path, errno: code },
    });
  }
}
