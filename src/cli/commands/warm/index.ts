import type { Command } from 'commander';
import type { Cli } from '../../action.ts';
import { addWarmDropCommand } from './drop.ts';
import { addWarmFillCommand } from './fill.ts';
import { addWarmLsCommand } from './ls.ts';

/** `alcove warm …`: machines made ahead of need. */
export function addWarmCommands(parent: Command, cli: Cli): void {
  const group = parent
    .command('warm')
    .description('Make machines ahead of need; the next run or start that one of them fits takes it.');
  addWarmFillCommand(group, cli);
  addWarmLsCommand(group, cli);
  addWarmDropCommand(group, cli);
}
