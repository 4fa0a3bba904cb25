import { describe, expect, it } from 'vitest';
import { parseTick, standstill, type Tick } from '../../bench/pause.ts';

/**
 * A program that prints a line every 20 ms of its own clock, to a reader whose clock is 5 s ahead and who gets each line 2 ms late. From 1000 ms
 * of its time on it is held up: its clock stands for `stoppedMs`, and then runs for `frozenMs` without it.
 */
function ticksAround({ stoppedMs, frozenMs }: { stoppedMs: number; frozenMs: number }): Tick[] {
  const before = Array.from({ length: 50 }, (_, index) => 20 * (index + 1));
  const after = before.map((ms) => 1000 + frozenMs + ms);
  return [
    ...before.map((ms) => ({ thereMs: ms, hereMs: ms + 5002, gapMs: 1 })),
    ...after.map((ms, index) => ({
      thereMs: ms,
      hereMs: ms + stoppedMs + 5002,
      gapMs: index === 0 ? 1 + frozenMs : 1,
    })),
  ];
}

/** Around the pause, and long after it. */
const work = { fromMs: 5900, untilMs: 6500 };
const stopped = ticksAround({ stoppedMs: 80, frozenMs: 0 });

describe('the pause that a program saw', () => {
  it.each([
    { stoppedMs: 0, frozenMs: 0 },
    { stoppedMs: 80, frozenMs: 0 },
    { stoppedMs: 0, frozenMs: 60 },
    { stoppedMs: 80, frozenMs: 60 },
  ])('counts a clock that stood, and one that ran on: $stoppedMs and $frozenMs ms', (held) => {
    expect(standstill(ticksAround(held), work).pauseMs).toBeCloseTo(1 + held.stoppedMs + held.frozenMs, 6);
  });

  it('does not count that lines come late', () => {
    const late = stopped.map((tick, index) =>
      index % 3 === 0 ? { ...tick, hereMs: tick.hereMs + 40 } : tick,
    );
    expect(standstill(late, work).pauseMs).toBeCloseTo(81, 6);
  });

  it('holds when lines from before the pause come after it', () => {
    const cameTogether = stopped.map((tick, index) =>
      index === 48 || index === 49 ? { ...tick, hereMs: 6002 + 80 } : tick,
    );
    expect(standstill(cameTogether, work).pauseMs).toBeCloseTo(81, 6);
  });

  it('tells gaps at other times during the work apart', () => {
    const crowded = stopped.map((tick, index) => (index === 60 ? { ...tick, gapMs: 30 } : tick));
    expect(standstill(crowded, work)).toEqual({ pauseMs: expect.closeTo(81, 6), otherMs: 30 });
  });

  it('does not count gaps before and after the work', () => {
    const noisy = stopped.map((tick, index) =>
      index === 10 || index === 95 ? { ...tick, gapMs: 500 } : tick,
    );
    expect(standstill(noisy, work)).toEqual({ pauseMs: expect.closeTo(81, 6), otherMs: 1 });
  });

  it('is not known without lines on both sides', () => {
    expect(() => standstill(stopped.slice(0, 50), work)).toThrow('nothing before or after');
    expect(() => standstill(stopped.slice(60), work)).toThrow('nothing before or after');
  });

  it('takes lines of the program, and no others', () => {
    expect(parseTick('12.500 0.250\n', 7)).toEqual({ hereMs: 7, thereMs: 12.5, gapMs: 0.25 });
    expect(() => parseTick('exit 0', 7)).toThrow('no line of gap');
  });
});
