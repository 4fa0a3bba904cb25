import { type Command, Option } from 'commander';
import type { PipelineResult, RunPipelineOptions } from '../../../executor/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { Interrupted } from '../../interrupts.ts';
import { invalidFlag } from '../../invalid-flag.ts';
import type { Invocation } from '../../invocation.ts';
import { parseCount } from '../../parse-count.ts';
import { loadPipeline } from '../../pipeline/load-pipeline.ts';
import { createReport } from '../../pipeline/report.ts';
import { summaryOf } from '../../pipeline/summary.ts';
import { writeStream } from '../../write-stream.ts';

interface PipelineFlags {
  only?: string[];
  keepGoing?: true;
  concurrency?: number;
  refresh?: true;
  readOnly?: true;
}

const mostAtOnce = 1024;

export function addPipelineRunCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('run')
    .description(
      'Run the pipeline that a TypeScript or JavaScript file exports by default: an object, or a function that returns one. Exits with 0 when all steps passed, 1 when one failed, 124 when one timed out, 130 when it was interrupted.',
    )
    .argument('<file>', 'a .ts, .mts, .js or .mjs file; relative paths in it start in its folder')
    .option('--only <step...>', 'only these steps and those that they need')
    .option('--keep-going', 'when a step fails, run all that do not depend on it')
    .addOption(
      new Option('--concurrency <n>', 'most steps at once (default: this host’s processors)').argParser(
        (text) => parseCount('--concurrency', text, mostAtOnce),
      ),
    )
    .option('--refresh', 'run every step, and store what comes of it anew')
    .option('--read-only', 'use what is cached, store nothing')
    .action(cli.action(runPipeline));
  addExamples(command, [
    ['alcove pipeline run build.ts', 'Steps that ran before with the same inputs are not run again.'],
    ['alcove pipeline run build.ts --only test lint --keep-going', 'Two steps, and what they start from.'],
    ['alcove pipeline run build.ts --json', 'For programs: an event a line, numbered without gaps.'],
  ]);
}

async function runPipeline(invocation: Invocation, file: string, flags: PipelineFlags): Promise<number> {
  const { signal, io, globals } = invocation;
  const options = optionsOf(flags);
  const pipeline = await loadPipeline(file, signal);
  return invocation.withEngine(async (alcove) => {
    const report = createReport(invocation);
    let result: PipelineResult;
    try {
      result = await alcove.pipelines.run(pipeline, { ...options, signal, onEvent: report.onEvent });
    } finally {
      await report.close();
    }
    if (globals.format === 'people') {
      const summary = summaryOf(result, report, invocation);
      if (summary) await writeStream(io.stdout, `${summary}\n`, signal);
    }
    const { reason } = signal;
    return result.status === 'cancelled' && reason instanceof Interrupted ? reason.exitCode : result.exitCode;
  });
}

function optionsOf({ only, keepGoing, concurrency, refresh, readOnly }: PipelineFlags): RunPipelineOptions {
  if (refresh && readOnly)
    throw invalidFlag('--refresh', 'it stores, and --read-only stores nothing', 'Leave one of them out.');
  return {
    ...(only && { only }),
    ...(keepGoing && { onFailure: 'keep-going' }),
    ...(concurrency !== undefined && { concurrency }),
    ...(refresh && { mode: 'refresh' }),
    ...(readOnly && { mode: 'readOnly' }),
  };
}
