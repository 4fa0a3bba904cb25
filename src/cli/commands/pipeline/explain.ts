import type { Command } from 'commander';
import type { StepExplanation } from '../../../executor/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { type ExplanationView, explainInWords } from '../../explanation/render-explanation.ts';
import type { Invocation } from '../../invocation.ts';
import { loadPipeline } from '../../pipeline/load-pipeline.ts';
import { renderTable } from '../../table.ts';

export function addPipelineExplainCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('explain')
    .description(
      'Say of each step of a pipeline whether it would be a hit or a miss now, and why: what is different from the most similar run before. Runs nothing.',
    )
    .argument('<file>', 'as of `alcove pipeline run`')
    .option('--only <step...>', 'only these steps and those that they need')
    .action(cli.action(explainPipeline));
  addExamples(command, [
    ['alcove pipeline explain build.ts', 'What would run, and which files are to blame.'],
    ['alcove pipeline explain build.ts -q', 'Only the names of steps that would run.'],
  ]);
}

async function explainPipeline(
  invocation: Invocation,
  file: string,
  { only }: { only?: string[] },
): Promise<number> {
  const { signal, globals, io, style, width } = invocation;
  const pipeline = await loadPipeline(file, signal);
  return invocation.withEngine(async (alcove) => {
    const steps = await alcove.pipelines.explain(pipeline, { signal, ...(only && { only }) });
    await invocation.show(steps, () => {
      if (globals.verbosity === 'quiet')
        return steps
          .filter(willRun)
          .map(({ step }) => step)
          .join('\n');
      return render(steps, { now: io.clock.now(), style, width });
    });
    return 0;
  });
}

function willRun({ explanation }: StepExplanation): boolean {
  return explanation.verdict !== 'hit';
}

function render(steps: readonly StepExplanation[], view: ExplanationView): string {
  const explained = steps.map(({ step, explanation }) => ({ step, ...explainInWords(explanation, view) }));
  const [, ...rows] = renderTable(
    explained,
    [
      { title: '', value: ({ step }) => step },
      { title: '', value: ({ verdict }) => verdict },
      { title: '', value: ({ reason }) => reason },
    ],
    view.width,
  ).split('\n');
  const lines = rows.flatMap((row, index) => [
    row,
    ...(explained[index]?.changes ?? []).map((line) => `    ${line}`),
  ]);
  const count = steps.filter(willRun).length;
  return [...lines, '', `${count} of ${steps.length} would run`].join('\n');
}
