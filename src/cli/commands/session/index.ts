import type { Command } from 'commander';
import type { Cli } from '../../action.ts';
import { addSessionBackupCommand } from './backup.ts';
import { addSessionCpCommand } from './cp.ts';
import { addSessionExecCommand } from './exec.ts';
import { addSessionInspectCommand } from './inspect.ts';
import { addSessionLsCommand } from './ls.ts';
import { addSessionMaintainCommand } from './maintain.ts';
import { addSessionRestoreCommand } from './restore.ts';
import { addSessionRmCommand } from './rm.ts';
import { addSessionShellCommand } from './shell.ts';
import { addSessionStatsCommand } from './stats.ts';
import { addSessionStopCommand } from './stop.ts';

/** `alcove session …`: a machine per session id that is still there tomorrow. */
export function addSessionCommands(parent: Command, cli: Cli): void {
  const group = parent
    .command('session')
    .description(
      'Machines that are kept by the id of a session: made on first use, found as they were left.',
    );
  addSessionExecCommand(group, cli);
  addSessionShellCommand(group, cli);
  addSessionCpCommand(group, cli);
  addSessionLsCommand(group, cli);
  addSessionInspectCommand(group, cli);
  addSessionStopCommand(group, cli);
  addSessionRmCommand(group, cli);
  addSessionBackupCommand(group, cli);
  addSessionRestoreCommand(group, cli);
  addSessionMaintainCommand(group, cli);
  addSessionStatsCommand(group, cli);
}
