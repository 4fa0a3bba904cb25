import { createHash } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError, cancelled, isAlcoveError } from '../../errors.ts';
import { Collector } from '../../host/index.ts';
import { type CallOptions, checkId, untilAborted, zstdCompressed } from '../../vm/index.ts';
import { backupFailed } from './backup-error.ts';
import type { BackupInfo, BackupManifest } from './backup-info.ts';
import { type BackupName, manifestName, stampOf } from './backup-name.ts';
import type { BackupSource } from './backup-store.ts';
import { HeldDirectory } from './held-directory.ts';
import { backupInfo, namesIn } from './list-backups.ts';
import { formatManifest } from './manifest-file.ts';
import { expectedBytes, requireRoom } from './room.ts';
import { type BackupStoreOptions, storing, temporaryPrefix } from './store-context.ts';
import { takeName, type Unnamed } from './take-name.ts';
import { type TarTotals, TarWalk } from './tar-walk.ts';

/**
 * Of zstd. Its default, 3, makes 4 % less of a tree of libraries and takes half as long again: 200 MB/s of Node's zstd against 300 on
 * two cores of the reference machine, where `zstd -3` has 230. The machine of the session wants those cores, too.
 */
const level = 2;

/** What a compressed tar turned out to be. */
type Written = Pick<BackupManifest, 'digest' | 'fileBytes'> & TarTotals;

/**
 * Makes a backup: the whole way from the tar's chunks to two synced files under their names. What is held in memory is a few chunks,
 * and the next is asked for when there is room for it.
 *
 * @throws AlcoveError `BackupFailed`, `Cancelled`, and what reading the tar throws; then nothing of it is left
 */
export async function writeBackup(
  store: BackupStoreOptions,
  source: BackupSource,
  { signal }: CallOptions,
): Promise<BackupInfo> {
  const { destination } = store;
  const what = `backing up session ${checkId('sessionId', source.sessionId)}`;
  const createdAtMs = store.clock.now();
  if (signal?.aborted) throw cancelled(what, signal);
  await using directory = await storing(`cannot use the backup destination ${destination}`, () =>
    HeldDirectory.make(destination),
  );
  const wanted = await storing(`cannot use the backup destination ${destination}`, () =>
    nextName(directory, source, createdAtMs),
  );
  const temporary = temporaryPrefix(store.owner) + Buffer.from(store.random(8)).toString('hex');
  const files: Unnamed = { tar: `${temporary}.tar.zst`, manifest: `${temporary}.json` };
  let leftovers = [files.tar, files.manifest];
  try {
    const written = await writeTar(directory.at(files.tar), source, what, signal);
    const { sessionId, facts } = source;
    const manifest: BackupManifest = { format: 1, sessionId, createdAtMs, ...written, ...facts };
    const name = await storing(`cannot write into the backup destination ${destination}`, async () => {
      await writeSynced(directory.at(files.manifest), Buffer.from(formatManifest(manifest)));
      if (signal?.aborted) throw cancelled(what, signal);
      const taken = await takeName(directory, files, wanted);
      leftovers = [taken, manifestName(taken), ...leftovers];
      await directory.sync();
      if (!(await directory.isInPlace()))
        throw backupFailed(`the backup destination ${destination} was removed or replaced meanwhile`);
      return taken;
    });
    leftovers = [files.tar, files.manifest];
    return {
      name,
      path: join(destination, name),
      sessionId,
      createdAtMs,
      fileBytes: written.fileBytes,
      manifest,
    };
  } finally {
    for (const left of leftovers)
      await rm(directory.at(left), { force: true }).catch((error) =>
        store.warn(
          `could not remove ${left} from the backup destination ${destination}: ${(error as Error).message}`,
        ),
      );
  }
}

/**
 * The name for a backup that begins now, when there is room for it. Of one session none sorts before one that is there: where the
 * clock was set back, it counts on in the second of the newest, which would else be taken for the newest state.
 */
async function nextName(
  directory: HeldDirectory,
  { sessionId, usedBytes }: BackupSource,
  createdAtMs: number,
): Promise<BackupName> {
  const now = { sessionId, stamp: stampOf(createdAtMs), sequence: 1 };
  const [newest] = await namesIn(directory.at(''), sessionId);
  const previous = newest && (await backupInfo(directory.at(''), newest.name, newest.parsed));
  await requireRoom(directory.at(''), expectedBytes(usedBytes, previous?.manifest));
  if (!newest || newest.parsed.stamp < now.stamp) return now;
  return { ...newest.parsed, sequence: newest.parsed.sequence + 1 };
}

async function writeTar(
  path: string,
  source: BackupSource,
  what: string,
  signal: AbortSignal | undefined,
): Promise<Written> {
  // A source that has nothing to say is let go of when the file cannot be written, too.
  const unwritable = new AbortController();
  const ended = signal ? AbortSignal.any([signal, unwritable.signal]) : unwritable.signal;
  const walk = new TarWalk();
  const hash = createHash('sha256');
  let fileBytes = 0;
  await using file = await storing('cannot make a file in the backup destination', () =>
    open(path, 'wx', 0o600),
  );
  const chunks = zstdCompressed(walked(untilAborted(source.tar, ended, what), walk), level);
  for await (const chunk of chunks) {
    try {
      await storing('cannot write the backup', () => writeAll(file, chunk));
    } catch (error) {
      unwritable.abort();
      throw error;
    }
    hash.update(chunk);
    fileBytes += chunk.length;
  }
  const totals = restorable(() => walk.end());
  await storing('cannot write the backup', () => file.sync());
  return { digest: `sha256:${hash.digest('hex')}`, fileBytes, ...totals };
}

async function* walked(chunks: AsyncIterable<Uint8Array>, walk: TarWalk): AsyncGenerator<Uint8Array> {
  const collector = new Collector();
  for await (const chunk of chunks) {
    restorable(() => walk.push(chunk));
    yield chunk;
    collector.passed(chunk.length);
  }
}

/** A backup that restoring would refuse is none; better to know now, while the session is there. */
function restorable<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!isAlcoveError(error, 'BackupInvalid')) throw error;
    throw new AlcoveError('BackupFailed', `the backup could not be restored: ${error.message}`, {
      cause: error,
      details: { ...error.details },
      remedy: 'Remove from the workdir what is named, and back up again; the session itself is whole.',
    });
  }
}

async function writeSynced(path: string, bytes: Uint8Array): Promise<void> {
  await using file = await open(path, 'wx', 0o600);
  await writeAll(file, bytes);
  await file.sync();
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at)).bytesWritten;
}
