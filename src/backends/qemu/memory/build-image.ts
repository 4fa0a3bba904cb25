import { open } from 'node:fs/promises';
import { cancelled } from '../../../errors.ts';
import { storageError } from '../../../store/index.ts';
import type { LayerStack } from './layer-stack.ts';
import { pageBytes } from './page-run.ts';
import { writeFully } from './write-memory-layer.ts';

/** Pages put together before they are written: 4 MiB. */
const windowPages = 1024;

/**
 * Writes what a stack of layers shows as a raw file in which zero pages are holes, each page once. The file is new, and
 * not synced; one that a failure leaves is the caller's to remove.
 *
 * @throws AlcoveError `SnapshotCorrupt`, `StateUnusable` (disk full, …), `Cancelled`
 */
export async function buildImage(
  path: string,
  stack: LayerStack,
  ramBytes: number,
  signal: AbortSignal,
): Promise<void> {
  try {
    await using file = await open(path, 'wx', 0o600);
    await file.truncate(ramBytes);
    const pages = ramBytes / pageBytes;
    const window = Buffer.allocUnsafeSlow(windowPages * pageBytes);
    for (let first = 0; first < pages; first += windowPages) {
      if (signal.aborted) throw cancelled(`making ${path}`, signal);
      const count = Math.min(windowPages, pages - first);
      const runs = [...stack.runs(first, count)].filter(({ kind }) => kind === 'data');
      if (runs.length === 0) continue;
      await stack.read(first, window.subarray(0, count * pageBytes));
      for (const run of runs) {
        const at = (run.firstPage - first) * pageBytes;
        const data = window.subarray(at, at + run.count * pageBytes);
        await writeFully(file, data, run.firstPage * pageBytes);
      }
    }
  } catch (error) {
    throw storageError(path, error);
  }
}
