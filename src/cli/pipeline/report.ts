import type { PipelineEvent } from '../../executor/index.ts';
import type { Invocation } from '../invocation.ts';
import { reportAsJson } from './report-as-json.ts';
import { reportAsLines } from './report-as-lines.ts';
import { reportLive } from './report-live.ts';
import type { StepStates } from './step-state.ts';

/** Shows what happens in a pipeline while it runs. */
export interface PipelineReport {
  /** Resolves when there is room for more. */
  onEvent(event: PipelineEvent): Promise<void>;
  /** Leaves the terminal as it was, with all output above; no timer and no listener stays. */
  close(): Promise<void>;
  /** Whether so many lines of a step were the last ones that were shown. */
  justShown(step: string, lines: number): boolean;
  /** Where a list of all steps stood while they ran, it stays at the end. */
  readonly list: 'shown' | 'not shown';
  /** As the events left them; empty where nobody keeps them. */
  readonly steps: StepStates;
}

export function createReport(invocation: Invocation): PipelineReport {
  const { io, globals } = invocation;
  if (globals.format === 'json') return reportAsJson(invocation);
  if (globals.verbosity === 'quiet') return silent();
  const isLive = io.terminal.isTerminal('stdout') && io.env.TERM !== 'dumb';
  return isLive ? reportLive(invocation) : reportAsLines(invocation);
}

function silent(): PipelineReport {
  return {
    onEvent: async () => undefined,
    close: async () => undefined,
    justShown: () => false,
    list: 'not shown',
    steps: new Map(),
  };
}
