import { describe, expect, it } from 'vitest';
import { parseTick, pauseMs, type Tick } from '../../bench/pause.ts';

/**
 * A program that prints a line every 20 ms of its own clock, to a reader whose clock is 5 s ahead and who gets each line 2 ms late. From 1000 ms
 * of its time on it is held up: its clock stands for `stoppedMs` and then runs for `frozenMs` without it.
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

const work = { fromMs: 6003, untilMs: 6200 };

describe('the pause that a program saw', () => {
  it.each([
    { stoppedMs: 0, frozenMs: 0 },
    { stoppedMs: 80, frozenMs: 0 },
    { stoppedMs: 0, frozenMs: 60 },
    { stoppedMs: 80, frozenMs: 60 },
  ])('counts a clock that stood, and a clock that ran on: $stoppedMs and $frozenMs ms', (held) => {
    expect(pauseMs(ticksAround(held), work)).toBeCloseTo(1 + held.stoppedMs + held.frozenMs, 6);
  });

  it('does not count that lines come late', () => {
    const ticks = ticksAround({ stoppedMs: 80, frozenMs: 0 });
    const late = ticks.map((tick, index) => (index % 3 === 0 ? { ...tick, hereMs: tick.hereMs + 40 } : tick));
    expect(pauseMs(late, work)).toBeCloseTo(81, 6);
  });

  it('does not count gaps long before or after the work', () => {
    const ticks = ticksAround({ stoppedMs: 80, frozenMs: 0 });
    const noisy = ticks.map((tick, index) => (index === 10 || index === 90 ? { ...tick, gapMs: 500 } : tick));
    expect(pauseMs(noisy, work)).toBeCloseTo(81, 6);
  });

  it('is not known without lines on both sides', () => {
    const ticks = ticksAround({ stoppedMs: 80, frozenMs: 0 });
    expect(() => pauseMs(ticks.slice(0, 50), work)).toThrow('nothing before or after');
  });

  it('takes lines of the program, and no others', () => {
    expect(parseTick('12.500 0.250\n', 7)).toEqual({ hereMs: 7, thereMs: 12.5, gapMs: 0.25 });
    expect(() => parseTick('exit 0', 7)).toThrow('no line of gap');
  });
});
