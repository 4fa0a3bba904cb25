import type { Command } from 'commander';
import type { Cli } from '../../action.ts';
import { addBackupLsCommand } from './ls.ts';
import { addBackupRmCommand } from './rm.ts';
import { addBackupVerifyCommand } from './verify.ts';

/** `alcove backup …`: what sessions were backed up to. */
export function addBackupCommands(parent: Command, cli: Cli): void {
  const group = parent
    .command('backup')
    .description('Backups of sessions: list, verify and remove them. `alcove session backup` makes them.');
  addBackupLsCommand(group, cli);
  addBackupVerifyCommand(group, cli);
  addBackupRmCommand(group, cli);
}
