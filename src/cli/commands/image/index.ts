import type { Command } from 'commander';
import type { Cli } from '../../action.ts';
import { addImageImportCommand } from './import.ts';
import { addImageInspectCommand } from './inspect.ts';
import { addImageLsCommand } from './ls.ts';
import { addImagePullCommand } from './pull.ts';
import { addImageRmCommand } from './rm.ts';

/** `alcove image …`: the root filesystems VMs start from. */
export function addImageCommands(parent: Command, cli: Cli): void {
  const group = parent.command('image').description('Get, list and remove images.');
  addImagePullCommand(group, cli);
  addImageImportCommand(group, cli);
  addImageLsCommand(group, cli);
  addImageInspectCommand(group, cli);
  addImageRmCommand(group, cli);
}
