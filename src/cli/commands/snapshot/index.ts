import type { Command } from 'commander';
import type { Cli } from '../../action.ts';
import { addSnapshotExportCommand } from './export.ts';
import { addSnapshotImportCommand } from './import.ts';
import { addSnapshotInspectCommand } from './inspect.ts';
import { addSnapshotLsCommand } from './ls.ts';
import { addSnapshotRmCommand } from './rm.ts';
import { addSnapshotTreeCommand } from './tree.ts';
import { addSnapshotVerifyCommand } from './verify.ts';

/** `alcove snapshot …`: what VMs were at one instant. */
export function addSnapshotCommands(parent: Command, cli: Cli): void {
  const group = parent
    .command('snapshot')
    .description('List, check, move and remove snapshots. `alcove vm snapshot` makes them.');
  addSnapshotLsCommand(group, cli);
  addSnapshotTreeCommand(group, cli);
  addSnapshotInspectCommand(group, cli);
  addSnapshotVerifyCommand(group, cli);
  addSnapshotExportCommand(group, cli);
  addSnapshotImportCommand(group, cli);
  addSnapshotRmCommand(group, cli);
}
