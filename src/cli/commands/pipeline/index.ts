import type { Command } from 'commander';
import type { Cli } from '../../action.ts';
import { addPipelineExplainCommand } from './explain.ts';
import { addPipelineRunCommand } from './run.ts';

/** `alcove pipeline …`: graphs of steps, declared in a file. */
export function addPipelineCommands(parent: Command, cli: Cli): void {
  const group = parent
    .command('pipeline')
    .description(
      'Run steps that start from each other’s machines, none of them twice, or say what would run.',
    );
  addPipelineRunCommand(group, cli);
  addPipelineExplainCommand(group, cli);
}
