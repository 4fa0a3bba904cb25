/** How long a machine stood still, from what `programs/gap.c` prints in it. */

/** A line that it printed, and when it came here. All in ms; the clocks have nothing to do with each other. */
export interface Tick {
  hereMs: number;
  thereMs: number;
  /** The longest time between two looks at the clock since the line before. */
  gapMs: number;
}

/** So many lines that come after the work may tell of a time before its end. */
const linesLate = 5;

export function parseTick(line: string, hereMs: number): Tick {
  const [thereMs = Number.NaN, gapMs = Number.NaN] = line.trim().split(' ').map(Number);
  if (Number.isNaN(thereMs) || Number.isNaN(gapMs)) throw new Error(`no line of gap: ${line}`);
  return { hereMs, thereMs, gapMs };
}

/**
 * The longest time for which the program did not run, around a piece of work that took from one time here to another.
 *
 * A program whose clock stands while it is held up sees nothing of it: QEMU's guests are such. But from then on its clock is behind ours
 * by as much. The lines tell: how much earlier the least delayed one comes than its time says, before and after. That, and the
 * longest gap that the program saw itself, make the pause. Where these two were at different times the sum says too much, never
 * too little.
 */
export function pauseMs(ticks: readonly Tick[], work: { fromMs: number; untilMs: number }): number {
  const before = ticks.filter(({ hereMs }) => hereMs < work.fromMs);
  const after = ticks.filter(({ hereMs }) => hereMs > work.untilMs);
  if (before.length === 0 || after.length === 0) throw new Error('gap printed nothing before or after');
  const held = Math.max(0, leastBehind(after) - leastBehind(before));
  const around = ticks.filter((tick) => tick.hereMs >= work.fromMs && !after.slice(linesLate).includes(tick));
  return held + longestGap(around);
}

/** What the program sees as its longest gap. */
export function longestGap(ticks: readonly Tick[]): number {
  return Math.max(...ticks.map(({ gapMs }) => gapMs));
}

function leastBehind(ticks: readonly Tick[]): number {
  return Math.min(...ticks.map(({ hereMs, thereMs }) => hereMs - thereMs));
}
