import type { MemoryLayer } from './memory-layer.ts';
import { type PageRun, pageBytes } from './page-run.ts';

/** Neighbouring pages of which a stack knows the same thing. `none`: no layer holds them, so they are zero. */
export interface StackRun {
  firstPage: number;
  count: number;
  kind: 'data' | 'zero' | 'none';
}

/** Pages read at a time by {@link LayerStack.pages}: 1 MiB. */
const piecePages = 256;
/** Instead of a position: the page is zero in its layer. No layer has so many data pages. */
const zeroPosition = 0xffff_ffff;

/** Consecutive data pages of one layer, and where in the buffer they go. */
interface Segment {
  position: number;
  count: number;
  page: number;
}

/**
 * What layers laid over each other show: of each page, the topmost layer that holds it. A map of 6 bytes per page (0.15 % of
 * the RAM) is made at once from the layers' tables; data is read when asked for, and only what can be seen.
 */
export class LayerStack {
  readonly #layers: readonly MemoryLayer[];
  readonly #pages: number;
  /** Per page: 0 where no layer holds it, else 1 + the index of the topmost layer that does. */
  readonly #owner: Uint16Array;
  /** Per page: its position among the data pages of that layer; `zeroPosition` where it is zero there. */
  readonly #position: Uint32Array;

  /** @param layers lowest first, of machines with `ramBytes` of RAM; they must stay open as long as this is used */
  constructor(layers: readonly MemoryLayer[], ramBytes: number) {
    this.#layers = layers;
    this.#pages = ramBytes / pageBytes;
    this.#owner = new Uint16Array(this.#pages);
    this.#position = new Uint32Array(this.#pages);
    for (const [index, layer] of layers.entries()) {
      for (const { firstPage, count, kind, position } of layer.runs) {
        const end = firstPage + count;
        this.#owner.fill(index + 1, firstPage, end);
        if (kind === 'zero') this.#position.fill(zeroPosition, firstPage, end);
        else
          for (let page = firstPage; page < end; page++) this.#position[page] = position + page - firstPage;
      }
    }
  }

  /** What is known of a range of pages, in rising order, without gaps. */
  *runs(firstPage = 0, count = this.#pages - firstPage): Generator<StackRun> {
    const end = firstPage + count;
    for (let page = firstPage; page < end; ) {
      const kind = this.#kindOf(page);
      let next = page + 1;
      while (next < end && this.#kindOf(next) === kind) next++;
      yield { firstPage: page, count: next - page, kind };
      page = next;
    }
  }

  /** Fills `into` with the content of the pages from `firstPage` on. @throws AlcoveError `SnapshotCorrupt` */
  async read(firstPage: number, into: Buffer): Promise<void> {
    const segments = new Map<number, Segment[]>();
    const count = into.length / pageBytes;
    for (let page = 0; page < count; ) {
      const owner = this.#owner[firstPage + page] ?? 0;
      const position = this.#position[firstPage + page] ?? 0;
      let length = 1;
      while (page + length < count && this.#follows(firstPage + page, length)) length++;
      if (owner === 0 || position === zeroPosition)
        into.fill(0, page * pageBytes, (page + length) * pageBytes);
      else {
        const ofLayer = segments.get(owner);
        if (ofLayer) ofLayer.push({ position, count: length, page });
        else segments.set(owner, [{ position, count: length, page }]);
      }
      page += length;
    }
    const reads = [...segments].flatMap(([owner, list]) =>
      grouped(list).map((group) => readGroup(this.#layers[owner - 1], group, into)),
    );
    await Promise.all(reads);
  }

  /** All pages that any layer holds, in pieces of at most 1 MiB, each of which holds until the next is asked for. */
  async *pages(): AsyncGenerator<PageRun> {
    const buffer = Buffer.allocUnsafeSlow(piecePages * pageBytes);
    for (const { firstPage, count, kind } of this.runs()) {
      if (kind === 'zero') yield { firstPage, count, data: 'zero' };
      if (kind !== 'data') continue;
      for (let done = 0; done < count; done += piecePages) {
        const data = buffer.subarray(0, Math.min(piecePages, count - done) * pageBytes);
        await this.read(firstPage + done, data);
        yield { firstPage: firstPage + done, count: data.length / pageBytes, data };
      }
    }
  }

  #kindOf(page: number): StackRun['kind'] {
    if ((this.#owner[page] ?? 0) === 0) return 'none';
    return this.#position[page] === zeroPosition ? 'zero' : 'data';
  }

  /** Whether the page `offset` after `page` comes from the same place, `offset` further on. */
  #follows(page: number, offset: number): boolean {
    if (this.#owner[page + offset] !== this.#owner[page]) return false;
    const position = this.#position[page] ?? 0;
    const expected = position === zeroPosition || this.#owner[page] === 0 ? position : position + offset;
    return this.#position[page + offset] === expected;
  }
}

/** Segments that are read at once: what lies between them, and is not wanted, is less than what is. */
function grouped(segments: readonly Segment[]): Segment[][] {
  const groups: Segment[][] = [];
  let end = -1;
  let wanted = 0;
  for (const segment of segments) {
    const group = groups.at(-1);
    if (group && segment.position - end <= wanted) {
      group.push(segment);
      wanted += segment.count;
    } else {
      groups.push([segment]);
      wanted = segment.count;
    }
    end = segment.position + segment.count;
  }
  return groups;
}

async function readGroup(
  layer: MemoryLayer | undefined,
  group: readonly Segment[],
  into: Buffer,
): Promise<void> {
  const [first] = group;
  const last = group.at(-1);
  if (!layer || !first || !last) return;
  const place = (segment: Segment) =>
    into.subarray(segment.page * pageBytes, (segment.page + segment.count) * pageBytes);
  if (first === last) return layer.readData(first.position, place(first));
  const scratch = Buffer.allocUnsafe((last.position + last.count - first.position) * pageBytes);
  await layer.readData(first.position, scratch);
  for (const segment of group) {
    const at = (segment.position - first.position) * pageBytes;
    scratch.copy(place(segment), 0, at, at + segment.count * pageBytes);
  }
}
