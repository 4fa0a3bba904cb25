import type { Invocation } from '../invocation.ts';
import { writeStream } from '../write-stream.ts';
import { outcomeInWords, paintStatus } from './outcome-in-words.ts';
import type { PipelineReport } from './report.ts';
import { ShownLines } from './shown-lines.ts';
import { nameWidth } from './step-rows.ts';
import { applyEvent, type StepStates } from './step-state.ts';

/** A line for all that is worth one, for logs and pipes. */
export function reportAsLines({ io, signal, style }: Invocation): PipelineReport {
  const steps: StepStates = new Map();
  const shown = new ShownLines();
  const write = (line: string) => writeStream(io.stdout, `${line}\n`, signal);
  const name = (step: string) => style.hue(steps.get(step)?.index ?? 0, step.padEnd(nameWidth(steps)));
  return {
    steps,
    list: 'not shown',
    justShown: (step, lines) => shown.endWith(step, lines),
    close: async () => undefined,
    async onEvent(event) {
      applyEvent(steps, event, io.clock.monotonic());
      if (event.event === 'output') {
        shown.add(event.step);
        await write(`${name(event.step)} | ${event.line}`);
      } else if (event.event === 'warning') {
        await write(`${style.warning('warning:')} ${event.step ? `${event.step}: ` : ''}${event.message}`);
      } else if (event.event === 'step-ended') {
        const { step, status } = event.outcome;
        await write(`${step} ${paintStatus(status, outcomeInWords(event.outcome), style)}`);
      }
    },
  };
}
