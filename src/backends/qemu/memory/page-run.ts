/** Unit of everything in this folder, whatever the host's own page size: what x86-64 guests and {@link PageRun}s are counted in. */
export const pageBytes = 4096;

/**
 * Consecutive pages of a machine's RAM. `data` may be a view of a buffer that is used again: it holds until the next run is
 * asked for.
 */
export interface PageRun {
  firstPage: number;
  count: number;
  /** `count` pages; `zero` where all of them are. */
  data: Buffer | 'zero';
}

/** Runs in rising order that do not overlap. */
export type PageRuns = Iterable<PageRun> | AsyncIterable<PageRun>;

const zeros = Buffer.alloc(64 * 1024);

/** Whether `length` bytes (at most 64 KiB) are zero. A comparison of memory, which ends at the first byte that differs. */
export function isZero(data: Buffer, offset = 0, length = pageBytes): boolean {
  return data.compare(zeros, 0, length, offset, offset + length) === 0;
}
