/** How long a machine stood still, from what `programs/gap.c` prints in it. */

/** A line that it printed, and when it came here. All in ms; the clocks have nothing to do with each other. */
export interface Tick {
  hereMs: number;
  thereMs: number;
  /** The longest time between two looks at the clock since the line before. */
  gapMs: number;
}

export interface Standstill {
  /** The time for which the program was held up by the work, in ms. */
  pauseMs: number;
  /** The longest gap meanwhile that was not that: when others had the processor, say. */
  otherMs: number;
}

/** A clock that stood for less cannot be told from lines that come late. */
const noiseMs = 2;
/** Lines near the pause that may tell of it: those before it may come after it. */
const linesNear = 3;
/** So many lines that come after the work may tell of a time before its end. */
const linesLate = 5;

/** @throws Error when it is not a line of `gap` */
export function parseTick(line: string, hereMs: number): Tick {
  const [thereMs = Number.NaN, gapMs = Number.NaN] = line.trim().split(' ').map(Number);
  if (Number.isNaN(thereMs) || Number.isNaN(gapMs)) throw new Error(`no line of gap: ${line}`);
  return { hereMs, thereMs, gapMs };
}

/**
 * For how long a piece of work, which took from one time here to another, held the program up.
 *
 * A program whose clock stands while it is held up sees nothing of it: QEMU's guests are such. But from then on its clock is behind ours
 * by as much. The lines tell: how much earlier the least delayed one comes than its time says, before and after. That, and the
 * longest gap that the program itself saw there, is the pause. Of a program whose clock goes on, the longest gap is the pause.
 */
export function standstill(ticks: readonly Tick[], work: { fromMs: number; untilMs: number }): Standstill {
  const first = ticks.findIndex(({ hereMs }) => hereMs >= work.fromMs);
  const end = ticks.findIndex(({ hereMs }) => hereMs > work.untilMs);
  if (first < 1 || end < 0) throw new Error('gap printed nothing before or after');
  const during = ticks.slice(first, end + linesLate);
  const heldMs = leastBehind(ticks.slice(end)) - leastBehind(ticks.slice(0, first));
  if (heldMs < noiseMs) return { pauseMs: longestGap(during), otherMs: 0 };
  const behind = leastBehind(ticks.slice(0, first)) + heldMs - noiseMs / 2;
  // The first line from which on all are behind: those that were printed before and came late are, too.
  const onTime = ticks.findLastIndex(({ hereMs, thereMs }) => hereMs - thereMs < behind);
  const near = ticks.slice(Math.max(0, onTime + 1 - linesNear), onTime + 1 + linesNear);
  const elsewhere = during.filter((tick) => !near.includes(tick));
  return { pauseMs: heldMs + longestGap(near), otherMs: longestGap(elsewhere) };
}

/** What the program sees as its longest gap; 0 of no lines. */
export function longestGap(ticks: readonly Tick[]): number {
  return Math.max(0, ...ticks.map(({ gapMs }) => gapMs));
}

function leastBehind(ticks: readonly Tick[]): number {
  return Math.min(...ticks.map(({ hereMs, thereMs }) => hereMs - thereMs));
}
