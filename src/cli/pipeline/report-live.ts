import { stripVTControlCharacters } from 'node:util';
import { hasUnicode } from '../draw-tree.ts';
import type { Invocation } from '../invocation.ts';
import { writeStream } from '../write-stream.ts';
import { LiveRegion } from './live-region.ts';
import type { PipelineReport } from './report.ts';
import { ShownLines } from './shown-lines.ts';
import { asciiMarks, liveRows, nameWidth, unicodeMarks } from './step-rows.ts';
import { applyEvent, type StepStates } from './step-state.ts';
import { cutToWidth } from './text-width.ts';

/** No frame comes sooner after another; clocks show tenths of a second. */
const frameMs = 100;
/** So much output does not wait for the next frame. */
const mostPending = 16 << 10;
const usualSize = { rows: 24, columns: 80 };

/** A list of all steps at the lower end of the terminal, and their output above it. */
export function reportLive({ io, signal, style }: Invocation): PipelineReport {
  const { clock, terminal, stdout } = io;
  const size = () => terminal.size() ?? usualSize;
  const region = new LiveRegion(size);
  const steps: StepStates = new Map();
  const shown = new ShownLines();
  const sinceMs = clock.monotonic();
  const marks = hasUnicode(io) ? unicodeMarks : asciiMarks;
  let pending = '';
  let paintedMs = Number.NEGATIVE_INFINITY;
  let stopTimer: (() => void) | undefined;
  let drained = Promise.resolve();

  const paint = () => {
    stopTimer?.();
    stopTimer = undefined;
    if (stdout.writableNeedDrain) {
      // A terminal that does not keep up gets the newest frame when it has taken the last one, not all between.
      stopTimer = clock.timer(frameMs, paint);
      return;
    }
    const nowMs = clock.monotonic();
    paintedMs = nowMs;
    const frame = region.frame(liveRows(steps, size(), { style, marks, nowMs, sinceMs }), pending);
    pending = '';
    if (frame !== '') drained = writeStream(stdout, frame, signal);
    if ([...steps.values()].some(({ phase }) => phase.is === 'running'))
      stopTimer = clock.timer(frameMs, paint);
  };
  const paintSoon = () => {
    const waitMs = paintedMs + frameMs - clock.monotonic();
    if (waitMs <= 0 || pending.length > mostPending) paint();
    else stopTimer ??= clock.timer(waitMs, paint);
  };
  const stopResizes = terminal.onResize(paint);
  const say = (text: string) => {
    pending += `${text}\n`;
  };

  return {
    steps,
    list: 'shown',
    justShown: (step, lines) => shown.endWith(step, lines),
    async close() {
      stopResizes();
      stopTimer?.();
      await writeStream(stdout, region.erase(pending), signal);
    },
    onEvent(event) {
      applyEvent(steps, event, clock.monotonic());
      if (event.event === 'output') {
        shown.add(event.step);
        const width = nameWidth(steps);
        const name = style.hue(
          steps.get(event.step)?.index ?? 0,
          cutToWidth(event.step, width).padEnd(width),
        );
        const line = harmless(event.line);
        say(`${name} | ${event.replayed ? style.dim(line) : line}`);
      } else if (event.event === 'warning') {
        say(`${style.warning('warning:')} ${event.step ? `${event.step}: ` : ''}${harmless(event.message)}`);
      }
      paintSoon();
      return drained;
    },
  };
}

/** A line that cannot move the cursor. Of one that was written over (a progress bar), what stood there last. */
function harmless(line: string): string {
  const last = line.split('\r').findLast((part) => part !== '') ?? '';
  return stripVTControlCharacters(last).replace(/[^\P{Cc}\t]/gu, '');
}
