/** A pipeline as a Dockerfile: the same steps from the same parents, `COPY` for what is injected. */
import type { Pipeline, Step } from '../../src/index.ts';

const mark = 'bench-took';

/** @param timing `commands` has each print how long it took, which needs the `date` of GNU in the image */
export function dockerfileOf(
  { steps }: Pipeline,
  base: string,
  timing: 'commands' | 'none' = 'none',
): string {
  const names = Object.keys(steps);
  const lines = Object.entries(steps).flatMap(([name, step], at) => {
    const parent = parentOf(step);
    const goesOn = parent !== undefined && parent === names[at - 1] && childrenOf(steps, parent) === 1;
    return [
      // A stage goes on for as long as nothing else starts from what is in between.
      ...(goesOn ? [] : [`FROM ${parent === undefined ? base : stageOf(steps, parent)} AS ${name}`]),
      ...(step.workdir === undefined ? [] : [`WORKDIR ${step.workdir}`]),
      ...[step.inject ?? []].flat().map(({ from, to }) => `COPY ${from} ${to}`),
      `RUN ${timing === 'commands' ? timed(lineOf(step)) : lineOf(step)}`,
    ];
  });
  return `${lines.join('\n')}\n`;
}

/** Time of the commands that a build ran, in ms, as it printed them. */
export function commandTime(output: string): number {
  const took = [...output.matchAll(new RegExp(`^${mark} (\\d+)\\s*$`, 'gm'))];
  return took.reduce((sum, [, nanoseconds]) => sum + Number(nanoseconds) / 1e6, 0);
}

function timed(line: string): string {
  return `start=$(date +%s%N) && (${line}) && echo ${mark} $(($(date +%s%N) - start))`;
}

function lineOf({ command }: Step): string {
  if (typeof command === 'string') return command;
  return command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
}

function parentOf({ from }: Step): string | undefined {
  return 'step' in from ? from.step : undefined;
}

function childrenOf(steps: Pipeline['steps'], name: string): number {
  return Object.values(steps).filter((step) => parentOf(step) === name).length;
}

/** The stage that a step is the last of, named by its first. */
function stageOf(steps: Pipeline['steps'], name: string): string {
  const step = steps[name];
  const parent = step && parentOf(step);
  return parent !== undefined && childrenOf(steps, parent) === 1 ? stageOf(steps, parent) : name;
}
