import { setTimeout as sleep } from 'node:timers/promises';
import { longestGap, parseTick, standstill, type Tick } from './pause.ts';

/** `gap` running somewhere. */
export interface RunningGap {
  /** What it prints, as it comes. */
  output: AsyncIterable<Uint8Array>;
  /** Ends it. Absent: it ends by itself, when its lifetime is over. */
  stop?(): Promise<unknown>;
}

export interface GapReadings extends Record<string, number> {
  /** The work, from call to answer. */
  total: number;
  /** How long it made the program stand still. */
  pause: number;
  /** The longest gap meanwhile that was not that. */
  other: number;
  /** The longest gap that the program saw before, in a second in which nothing was done. */
  idle: number;
}

/** Lines of `gap` on each side of the work: one second of them. */
const linesAround = 50;
/** The first are those of a program that starts. */
const linesOfStart = 5;

/** Does something while `gap` runs. */
export async function watchGaps(gap: RunningGap, work: () => Promise<unknown>): Promise<GapReadings> {
  const ticks: Tick[] = [];
  let over = false;
  const ended = readTicks(gap.output, ticks).finally(() => {
    over = true;
  });
  ended.catch(() => {}); // It is waited for below; that is late when the work takes long.
  const moreTicks = async (count: number) => {
    const enough = ticks.length + count;
    while (ticks.length < enough && !over) await sleep(5);
  };
  try {
    await moreTicks(linesOfStart + linesAround);
    const idle = longestGap(ticks.slice(linesOfStart));
    const fromMs = performance.now();
    await work();
    const untilMs = performance.now();
    await moreTicks(linesAround);
    const { pauseMs, otherMs } = standstill(ticks, { fromMs, untilMs });
    return { total: untilMs - fromMs, pause: pauseMs, other: otherMs, idle };
  } finally {
    await gap.stop?.();
    await ended;
  }
}

async function readTicks(output: AsyncIterable<Uint8Array>, ticks: Tick[]): Promise<void> {
  let text = '';
  for await (const chunk of output) {
    const parts = `${text}${Buffer.from(chunk).toString('latin1')}`.split('\n');
    text = parts.pop() ?? '';
    for (const line of parts) ticks.push(parseTick(line, performance.now()));
  }
}
