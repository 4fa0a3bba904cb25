import type { Writable } from 'node:stream';
import type { Clock } from '../host/index.ts';
import { formatElapsed } from './human.ts';

/** Says what a slow call is doing, on standard error. */
export interface Progress {
  /** Begins a step and ends the one before. */
  step(name: string): void;
  /** Ends the last step and leaves the line empty for what follows. */
  end(): void;
}

/** `live`: one line that shows the step and its time, erased at the end. `lines`: a line for each step that took over a second. */
export type ProgressMode = 'live' | 'lines' | 'none';

export interface ProgressOptions {
  stderr: Writable;
  clock: Clock;
  mode: ProgressMode;
  /** Width of the terminal now. */
  columns: () => number;
}

const refreshMs = 100;
const worthALineMs = 1000;
const eraseLine = '\r\x1b[2K';

export function createProgress({ stderr, clock, mode, columns }: ProgressOptions): Progress {
  let current: { name: string; sinceMs: number } | undefined;
  let stopTimer: (() => void) | undefined;
  let drawn = false;

  const line = (step: { name: string; sinceMs: number }) =>
    `${step.name} … ${formatElapsed(clock.monotonic() - step.sinceMs)}`;
  const draw = () => {
    if (!current) return;
    // A line that wraps could not be erased.
    drawn = true;
    stderr.write(`${eraseLine}${[...line(current)].slice(0, Math.max(1, columns() - 1)).join('')}`);
    stopTimer = clock.timer(refreshMs, draw);
  };
  const end = () => {
    if (!current) return;
    stopTimer?.();
    stopTimer = undefined;
    if (drawn) stderr.write(eraseLine);
    drawn = false;
    if (mode === 'lines' && clock.monotonic() - current.sinceMs > worthALineMs) {
      stderr.write(`${line(current)}\n`);
    }
    current = undefined;
  };

  return {
    step(name) {
      if (mode === 'none' || name === current?.name) return;
      end();
      current = { name: name.replace(/\p{Cc}+/gu, ' '), sinceMs: clock.monotonic() };
      if (mode === 'live') stopTimer = clock.timer(refreshMs, draw); // Steps that take no time do not flicker.
    },
    end,
  };
}
