import { type FileHandle, open } from 'node:fs/promises';
import { AlcoveError } from '../../../errors.ts';
import { isZero, type PageRun, pageBytes } from './page-run.ts';

/** Read at a time. */
const pieceBytes = 4 << 20;
/** Looked at as a whole first, as most of a machine's RAM is zero. */
const blockBytes = 64 * 1024;

/**
 * The pages of a raw RAM file that are not zero, each run holding until the next is asked for. Node cannot ask where a file's holes are
 * (no `SEEK_DATA`), so all of it is read: see docs/decisions/0007-memory-layers.md for what that costs.
 *
 * @throws AlcoveError `StateCorrupt` (not `ramBytes` long), `StateUnusable`
 */
export async function* pagesOfFile(path: string, ramBytes: number): AsyncGenerator<PageRun> {
  await using file = await openRam(path);
  const { size } = await file.stat();
  if (size !== ramBytes)
    throw new AlcoveError('StateCorrupt', `the RAM file ${path} has ${size} bytes, not ${ramBytes}`);
  const buffer = Buffer.allocUnsafeSlow(Math.min(pieceBytes, ramBytes));
  for (let offset = 0; offset < ramBytes; offset += pieceBytes) {
    const piece = buffer.subarray(0, Math.min(pieceBytes, ramBytes - offset));
    await readFully(path, file, piece, offset);
    yield* nonZeroRuns(offset / pageBytes, piece);
  }
}

function* nonZeroRuns(firstPage: number, piece: Buffer): Generator<PageRun> {
  let start = -1;
  const endAt = function* (offset: number): Generator<PageRun> {
    if (start < 0) return;
    const data = piece.subarray(start, offset);
    yield { firstPage: firstPage + start / pageBytes, count: data.length / pageBytes, data };
    start = -1;
  };
  for (let block = 0; block < piece.length; block += blockBytes) {
    const end = Math.min(block + blockBytes, piece.length);
    if (isZero(piece, block, end - block)) {
      yield* endAt(block);
      continue;
    }
    for (let offset = block; offset < end; offset += pageBytes) {
      if (isZero(piece, offset)) yield* endAt(offset);
      else if (start < 0) start = offset;
    }
  }
  yield* endAt(piece.length);
}

async function openRam(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

async function readFully(path: string, file: FileHandle, into: Buffer, position: number): Promise<void> {
  for (let done = 0; done < into.length; ) {
    const { bytesRead } = await file
      .read(into, done, into.length - done, position + done)
      .catch((cause) => Promise.reject(unreadable(path, cause)));
    if (bytesRead === 0) throw new AlcoveError('StateCorrupt', `the RAM file ${path} became shorter`);
    done += bytesRead;
  }
}

function unreadable(path: string, cause: unknown): AlcoveError<'StateUnusable'> {
  return new AlcoveError('StateUnusable', `cannot read ${path}: ${(cause as Error).message}`, { cause });
}
