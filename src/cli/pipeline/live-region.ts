import type { TerminalSize } from '../../guest/index.ts';
import type { Row } from './step-rows.ts';

const eraseToEnd = '\x1b[J';
const eraseLineRest = '\x1b[K';

/**
 * Rows at the lower end of a terminal that are redrawn in place, with text that scrolls above them. The cursor rests on an empty line
 * below: what the terminal echoes there (`^C`) does no harm, and terminals that do not wrap the cursor's line anew when they become
 * narrower are as those that do. It makes the text to write, whole frames in one piece; whoever has the terminal writes it.
 */
export class LiveRegion {
  readonly #size: () => TerminalSize;
  #drawn: readonly Row[] = [];
  #drawnAt: TerminalSize | undefined;

  constructor(size: () => TerminalSize) {
    this.#size = size;
  }

  /** What to write to have `above` (whole lines, or nothing) above `rows`; nothing when that is what stands there. */
  frame(rows: readonly Row[], above: string): string {
    const resized = !this.#isSizeOf(this.#drawnAt);
    if (above === '' && !resized && same(rows, this.#drawn)) return '';
    // Rows that only change are written over the old ones, which flickers less than a region erased first.
    const start = this.#home() + (above !== '' || resized ? eraseToEnd : '');
    this.#drawn = rows;
    this.#drawnAt = this.#size();
    const list = rows.map(({ text }) => `${text}${eraseLineRest}\n`).join('');
    return `${start}${above}${list}${eraseToEnd}`;
  }

  /** What to write to have nothing of it left, and `above` where it stood. */
  erase(above = ''): string {
    const start = this.#drawn.length > 0 ? this.#home() + eraseToEnd : '';
    this.#drawn = [];
    return start + above;
  }

  /** To the beginning of the first row, wherever a terminal that became narrower has wrapped them to. */
  #home(): string {
    if (this.#drawn.length === 0) return '';
    const { rows, columns } = this.#size();
    const lines = this.#drawn.reduce((sum, { width }) => sum + Math.max(1, Math.ceil(width / columns)), 0);
    const up = Math.min(lines, rows - 1);
    return `\r${up > 0 ? `\x1b[${up}A` : ''}`;
  }

  #isSizeOf(size: TerminalSize | undefined): boolean {
    const now = this.#size();
    return size !== undefined && now.rows === size.rows && now.columns === size.columns;
  }
}

function same(a: readonly Row[], b: readonly Row[]): boolean {
  return a.length === b.length && a.every(({ text }, index) => text === b[index]?.text);
}
