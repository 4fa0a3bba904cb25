import type { Invocation } from '../invocation.ts';
import { writeStream } from '../write-stream.ts';
import type { PipelineReport } from './report.ts';

/** One event a line, every one of them, as fast as they are read. */
export function reportAsJson({ io, signal }: Invocation): PipelineReport {
  return {
    onEvent: (event) => writeStream(io.stdout, `${JSON.stringify(event)}\n`, signal),
    close: async () => undefined,
    justShown: () => false,
    list: 'not shown',
    steps: new Map(),
  };
}
