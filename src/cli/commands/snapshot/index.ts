import type { Command } from 'commander';
import type { Cli } from '../../action.ts';
import { addSnapshotInspectCommand } from './inspect.ts';
import { addSnapshotLsCommand } from './ls.ts';
import { addSnapshotRmCommand } from './rm.ts';

/** `alcove snapshot …`: what VMs were at one instant. */
export function addSnapshotCommands(parent: Command, cli: Cli): void {
  const group = parent
    .command('snapshot')
    .description('List and remove snapshots. `alcove vm snapshot` makes them.');
  addSnapshotLsCommand(group, cli);
  addSnapshotInspectCommand(group, cli);
  addSnapshotRmCommand(group, cli);
}
