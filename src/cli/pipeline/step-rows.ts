import type { TerminalSize } from '../../guest/index.ts';
import { formatElapsed } from '../human.ts';
import type { Style } from '../style.ts';
import { outcomeInWords, paintStatus } from './outcome-in-words.ts';
import type { StepState, StepStates } from './step-state.ts';
import { cutToWidth, textWidth } from './text-width.ts';

/** One line of a terminal. */
export interface Row {
  /** With colours. */
  text: string;
  /** Columns that it takes. */
  width: number;
}

export interface RowsView {
  style: Style;
  marks: Marks;
  nowMs: number;
}

export type Marks = Readonly<Record<StepState['phase']['is'] | 'good' | 'bad' | 'left out', string>>;

export const unicodeMarks: Marks = {
  waiting: '·',
  running: '▸',
  over: ' ',
  good: '✓',
  bad: '✗',
  'left out': '-',
};
export const asciiMarks: Marks = {
  waiting: '.',
  running: '>',
  over: ' ',
  good: '+',
  bad: 'x',
  'left out': '-',
};

/** Names longer than that are cut where they stand in a column. */
export const widestName = 24;

export function nameWidth(steps: StepStates): number {
  return Math.min(widestName, Math.max(0, ...[...steps.values()].map(({ name }) => name.length)));
}

/**
 * The live list: a line for each step and one that counts, no wider and no higher than the terminal: the cursor's line below it and one for output
 * are left.
 * Where there is no room for all steps, those that run or failed come first, then those that wait.
 */
export function liveRows(steps: StepStates, size: TerminalSize, view: RowsView & { sinceMs: number }): Row[] {
  const all = [...steps.values()];
  const columns = Math.max(1, size.columns - 1);
  const room = Math.max(0, size.rows - 3);
  const isCut = all.length > room;
  const saysMore = isCut && room >= 2;
  const shown = isCut ? mostTelling(all, saysMore ? room - 1 : room) : all;
  const width = nameWidth(steps);
  const rows = shown.map((step) => stepRow(step, steps, width, columns, view));
  if (saysMore) rows.push(plainRow(`  and ${all.length - shown.length} more`, columns, view));
  return [...rows, plainRow(countsInWords(all, view), columns, view)];
}

/** A line for each step as it is at the end. */
export function finalRows(steps: StepStates, columns: number, view: RowsView): Row[] {
  const width = nameWidth(steps);
  return [...steps.values()].map((step) => stepRow(step, steps, width, columns, view));
}

function stepRow(step: StepState, steps: StepStates, width: number, columns: number, view: RowsView): Row {
  const { style, marks } = view;
  const name = cutToWidth(step.name, width).padEnd(width);
  const room = columns - (width + 4);
  const text = cutToWidth(phaseInWords(step, steps, view.nowMs), Math.max(0, room));
  const line = `${markOf(step, marks)} ${name}  ${text}`.trimEnd();
  const cut = cutToWidth(line, columns);
  const total = textWidth(cut);
  if (cut !== line) return { text: cut, width: total };
  const { phase } = step;
  const paint = (part: string) => {
    if (phase.is === 'over') return paintStatus(phase.outcome.status, part, style);
    return phase.is === 'waiting' ? style.dim(part) : part;
  };
  return {
    text: `${paint(markOf(step, marks))} ${style.hue(step.index, name)}${text && `  ${paint(text)}`}`,
    width: total,
  };
}

function plainRow(text: string, columns: number, { style }: RowsView): Row {
  const cut = cutToWidth(text, columns);
  return { text: style.dim(cut), width: textWidth(cut) };
}

function markOf({ phase }: StepState, marks: Marks): string {
  if (phase.is !== 'over') return marks[phase.is];
  const { status } = phase.outcome;
  if (status === 'passed' || status === 'cached') return marks.good;
  return status === 'skipped' || status === 'cancelled' ? marks['left out'] : marks.bad;
}

function phaseInWords({ phase, needs }: StepState, steps: StepStates, nowMs: number): string {
  if (phase.is === 'over') return oneLine(outcomeInWords(phase.outcome));
  if (phase.is === 'running') {
    const time = formatElapsed(nowMs - phase.sinceMs);
    return phase.doing === undefined ? time : `${time}  ${oneLine(phase.doing)}`;
  }
  const missing = needs.filter((name) => steps.get(name)?.phase.is !== 'over');
  return missing.length > 0 ? `waits for ${missing.join(', ')}` : '';
}

function countsInWords(
  all: readonly StepState[],
  { nowMs, sinceMs }: { nowMs: number; sinceMs: number },
): string {
  const over = all.filter(({ phase }) => phase.is === 'over').length;
  const running = all.filter(({ phase }) => phase.is === 'running').length;
  return `${over} of ${all.length} done, ${running} running, ${formatElapsed(nowMs - sinceMs)}`;
}

/** As many steps as there is room for, in their order: running, then failed, then waiting, then those over last. */
function mostTelling(all: readonly StepState[], room: number): StepState[] {
  const rank = ({ phase }: StepState) => {
    if (phase.is === 'running') return 0;
    if (phase.is === 'waiting') return 2;
    return phase.outcome.status === 'failed' || phase.outcome.status === 'timed out' ? 1 : 3;
  };
  const endedAt = ({ phase }: StepState) => (phase.is === 'over' ? phase.atMs : 0);
  return all
    .toSorted((a, b) => rank(a) - rank(b) || endedAt(b) - endedAt(a) || a.index - b.index)
    .slice(0, room)
    .sort((a, b) => a.index - b.index);
}

/** What engines and guests said must not move the cursor. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ');
}
