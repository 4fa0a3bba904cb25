import type { PipelineResult, StepOutcome, StepStatus } from './pipeline.ts';

const exitCodes = { passed: 0, failed: 1, 'timed out': 124, cancelled: 130 } as const;

/** What became of a run as a whole. @param steps in the order of declaration */
export function summarize(steps: readonly StepOutcome[], durationMs: number): PipelineResult {
  const status = statusOf(new Set(steps.map((step) => step.status)));
  const savedMs = steps.reduce((sum, step) => sum + (step.savedMs ?? 0), 0);
  return { status, exitCode: exitCodes[status], durationMs, savedMs, steps };
}

/** One failure shows as one failure, however many it has cancelled; what is skipped never has itself to blame. */
function statusOf(seen: ReadonlySet<StepStatus>): PipelineResult['status'] {
  if (seen.has('failed')) return 'failed';
  if (seen.has('timed out')) return 'timed out';
  return seen.has('cancelled') || seen.has('skipped') ? 'cancelled' : 'passed';
}
