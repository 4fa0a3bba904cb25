import type { PipelineResult, StepOutcome, StepStatus } from '../../executor/index.ts';
import { hasUnicode } from '../draw-tree.ts';
import { formatElapsed } from '../human.ts';
import type { Invocation } from '../invocation.ts';
import { printable } from '../printable.ts';
import { paintStatus } from './outcome-in-words.ts';
import type { PipelineReport } from './report.ts';
import { asciiMarks, finalRows, unicodeMarks } from './step-rows.ts';

/** In the order in which they are counted. */
const statuses: readonly StepStatus[] = ['passed', 'cached', 'failed', 'timed out', 'cancelled', 'skipped'];

/**
 * What is said when a pipeline has ended: on a terminal each step as it ended; of each that failed why, with its last output where that
 * is not what stands right above; and how it all went. With `-q` nothing of one that passed.
 */
export function summaryOf(result: PipelineResult, report: PipelineReport, invocation: Invocation): string {
  const { globals, io, style, width = 80 } = invocation;
  if (globals.verbosity === 'quiet' && result.status === 'passed') return '';
  const marks = hasUnicode(io) ? unicodeMarks : asciiMarks;
  const view = { style, marks, nowMs: io.clock.monotonic() };
  const list = report.list === 'shown' ? finalRows(report.steps, width, view) : [];
  const failures = result.steps
    .filter(({ status }) => status === 'failed' || status === 'timed out')
    .map((outcome) => failureInWords(outcome, report, invocation));
  const blocks = [list.map(({ text }) => text).join('\n'), ...failures, totalInWords(result, invocation)];
  const text = blocks.filter((block) => block !== '').join('\n\n');
  const follows = globals.verbosity === 'normal' && report.list === 'not shown' && failures.length > 0;
  return follows ? `\n${text}` : text;
}

function failureInWords(outcome: StepOutcome, report: PipelineReport, { style }: Invocation): string {
  const { step, status, error, lastOutput = [] } = outcome;
  const lines = [`${style.bad(`${step}:`)} ${printable(error?.message ?? status)}`];
  if (lastOutput.length > 0 && !report.justShown(step, lastOutput.length))
    lines.push(...lastOutput.map((line) => `  | ${printable(line)}`));
  if (error?.remedy) lines.push(`  ${printable(error.remedy)}`);
  return lines.join('\n');
}

function totalInWords({ status, steps, durationMs, savedMs }: PipelineResult, { style }: Invocation): string {
  const counts = statuses.flatMap((one) => {
    const count = steps.filter((outcome) => outcome.status === one).length;
    return count > 0 ? [`${count} ${one}`] : [];
  });
  const saved = savedMs > 0 ? `; saved ${formatElapsed(savedMs)}` : '';
  const head = paintStatus(status, status, style);
  return `${head} in ${formatElapsed(durationMs)}${counts.length > 0 ? `: ${counts.join(', ')}` : ''}${saved}`;
}
