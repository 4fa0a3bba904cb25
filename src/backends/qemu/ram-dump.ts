import { chmod, chown, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Machine } from './machine.ts';
import { type PageRun, type PageRuns, pageBytes, pagesOfFile } from './memory/index.ts';
import { MiB } from './sizes.ts';

/** RAM of a PC lies together below this; what a bigger machine has beyond it goes on at 4 GiB (QEMU, hw/i386/pc_q35.c). */
const lowRamBytes = (ramBytes: number) => (ramBytes >= 0xb0000000 ? 0x80000000 : ramBytes);
const highRamStart = 2 ** 32;

export interface PreparedRamDump extends AsyncDisposable {
  /** Every page, in rising order. To be called while the machine stands still. */
  take(): Promise<PageRuns & AsyncDisposable>;
}

/**
 * Where the host does not let the engine look into QEMU (not its child under Yama, another user's), QEMU writes down its whole
 * RAM itself, the guest standing still: 0.5 s for 256 MiB instead of 1 ms for each MB that changed. The files go with what was
 * taken, or, when nothing was, with what was prepared.
 */
export async function prepareRamDump(
  { places, qmp }: Machine,
  uid: number | undefined,
  ramBytes: number,
): Promise<PreparedRamDump> {
  const low = lowRamBytes(ramBytes);
  const parts = [{ file: 'ram-low.dump', val: 0, size: low }];
  if (ramBytes > low) parts.push({ file: 'ram-high.dump', val: highRamStart, size: ramBytes - low });
  const pathOf = (file: string) => join(places.jail, file);
  const remove = async () => {
    for (const { file } of parts) await rm(pathOf(file), { force: true });
  };
  for (const { file } of parts) {
    await writeFile(pathOf(file), ''); // QEMU may make no files.
    await chmod(pathOf(file), 0o600);
    if (uid !== undefined) await chown(pathOf(file), uid, uid);
  }
  let taken = false;
  return {
    async take() {
      for (const { file, val, size } of parts)
        await qmp.execute('pmemsave', { val, size, filename: file }, 60_000 + size / MiB);
      taken = true;
      return {
        async *[Symbol.asyncIterator]() {
          let firstPage = 0;
          for (const { file, size } of parts) {
            yield* everyPage(pagesOfFile(pathOf(file), size), firstPage, size / pageBytes);
            firstPage += size / pageBytes;
          }
        },
        [Symbol.asyncDispose]: remove,
      };
    },
    async [Symbol.asyncDispose]() {
      if (!taken) await remove();
    },
  };
}

/** Fills the gaps between pages that are not zero with those that are. */
async function* everyPage(
  pages: AsyncIterable<PageRun>,
  from: number,
  count: number,
): AsyncGenerator<PageRun> {
  let next = 0;
  const gap = function* (end: number): Generator<PageRun> {
    if (end > next) yield { firstPage: from + next, count: end - next, data: 'zero' };
  };
  for await (const run of pages) {
    yield* gap(run.firstPage);
    yield { ...run, firstPage: from + run.firstPage };
    next = run.firstPage + run.count;
  }
  yield* gap(count);
}
