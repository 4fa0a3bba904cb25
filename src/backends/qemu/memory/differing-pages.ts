import { LayerStack } from './layer-stack.ts';
import type { MemoryLayer } from './memory-layer.ts';
import { type PageRun, type PageRuns, pageBytes } from './page-run.ts';

/** Pages compared at a time: 1 MiB. */
const piecePages = 256;

/**
 * Only those pages whose content is not what a stack of layers shows; a page that no layer holds counts as zero. So a machine's
 * second snapshot costs what changed since its first, not since it was started.
 *
 * @param layers lowest first, of one machine size; they must stay open until the last run was taken
 * @throws AlcoveError `SnapshotCorrupt`, and what `pages` throws
 */
export async function* differingFrom(
  pages: PageRuns,
  layers: readonly MemoryLayer[],
): AsyncGenerator<PageRun> {
  const stack = new LayerStack(layers, layers[0]?.ramBytes ?? 0);
  const expected = Buffer.allocUnsafeSlow(piecePages * pageBytes);
  for await (const { firstPage, count, data } of pages) {
    if (data === 'zero') {
      // What a layer holds as data is not zero: writing a layer sees to that.
      for (const run of stack.runs(firstPage, count))
        if (run.kind === 'data') yield { firstPage: run.firstPage, count: run.count, data: 'zero' };
      continue;
    }
    for (let done = 0; done < count; done += piecePages) {
      const found = data.subarray(done * pageBytes, Math.min(done + piecePages, count) * pageBytes);
      const below = expected.subarray(0, found.length);
      await stack.read(firstPage + done, below);
      yield* differences(firstPage + done, found, below);
    }
  }
}

function* differences(firstPage: number, found: Buffer, below: Buffer): Generator<PageRun> {
  const count = found.length / pageBytes;
  let start = -1;
  for (let page = 0; page <= count; page++) {
    const differs = page < count && !samePage(found, below, page * pageBytes);
    if (differs && start < 0) start = page;
    if (differs || start < 0) continue;
    const data = found.subarray(start * pageBytes, page * pageBytes);
    yield { firstPage: firstPage + start, count: page - start, data };
    start = -1;
  }
}

function samePage(a: Buffer, b: Buffer, offset: number): boolean {
  return a.compare(b, offset, offset + pageBytes, offset, offset + pageBytes) === 0;
}
