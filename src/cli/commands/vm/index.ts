import type { Command } from 'commander';
import type { Cli } from '../../action.ts';
import { addVmCreateCommand } from './create.ts';
import { addVmDestroyCommand } from './destroy.ts';
import { addVmDuCommand } from './du.ts';
import { addVmForkCommand } from './fork.ts';
import { addVmInspectCommand } from './inspect.ts';
import { addVmLogsCommand } from './logs.ts';
import { addVmLsCommand } from './ls.ts';
import { addVmPauseCommand } from './pause.ts';
import { addVmRestoreCommand } from './restore.ts';
import { addVmResumeCommand } from './resume.ts';
import { addVmSnapshotCommand } from './snapshot.ts';
import { addVmStartCommand } from './start.ts';
import { addVmStopCommand } from './stop.ts';

/** `alcove vm …`: machines that outlive one command. */
export function addVmCommands(parent: Command, cli: Cli): void {
  const group = parent.command('vm').description('Make and keep VMs.');
  addVmCreateCommand(group, cli);
  addVmStartCommand(group, cli);
  addVmStopCommand(group, cli);
  addVmPauseCommand(group, cli);
  addVmResumeCommand(group, cli);
  addVmSnapshotCommand(group, cli);
  addVmForkCommand(group, cli);
  addVmRestoreCommand(group, cli);
  addVmDestroyCommand(group, cli);
  addVmLsCommand(group, cli);
  addVmInspectCommand(group, cli);
  addVmLogsCommand(group, cli);
  addVmDuCommand(group, cli);
}
