import type { StepOutcome } from '../../executor/index.ts';
import { formatElapsed } from '../human.ts';
import type { Style } from '../style.ts';

/** `passed in 1.2 s`, `cached, saved 3.0 s`, `failed in 0.3 s: exit code 2`, … */
export function outcomeInWords({ status, durationMs, savedMs, because, ...outcome }: StepOutcome): string {
  const time = formatElapsed(durationMs);
  switch (status) {
    case 'passed':
      return `passed in ${time}`;
    case 'cached':
      return savedMs === undefined ? 'cached' : `cached, saved ${formatElapsed(savedMs)}`;
    case 'failed':
      return `failed in ${time}${reasonOf(outcome)}`;
    case 'timed out':
      return `timed out after ${time}`;
    case 'cancelled':
      return durationMs > 0 ? `cancelled after ${time}` : 'cancelled';
    case 'skipped':
      return because === undefined
        ? 'skipped'
        : `skipped ${isName(because) ? 'because of' : 'because'} ${because}`;
  }
}

/** A step to blame, not a reason in words. */
function isName(because: string): boolean {
  return !because.includes(' ');
}

function reasonOf({ exitCode, error }: Pick<StepOutcome, 'exitCode' | 'error'>): string {
  if (exitCode !== undefined && exitCode !== 0) return `: exit code ${exitCode}`;
  return error ? `: ${error.message}` : '';
}

export function paintStatus(status: StepOutcome['status'], text: string, style: Style): string {
  if (status === 'passed' || status === 'cached') return style.good(text);
  if (status === 'failed' || status === 'timed out') return style.bad(text);
  return style.warning(text);
}
