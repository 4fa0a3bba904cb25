import type { Command } from 'commander';
import type { Cli } from '../../action.ts';
import { addCacheExplainCommand } from './explain.ts';
import { addCacheExportCommand } from './export.ts';
import { addCacheGcCommand } from './gc.ts';
import { addCacheImportCommand } from './import.ts';
import { addCacheInspectCommand } from './inspect.ts';
import { addCacheLsCommand } from './ls.ts';
import { addCacheRmCommand } from './rm.ts';

/** `alcove cache …`: what runs with a key left. */
export function addCacheCommands(parent: Command, cli: Cli): void {
  const group = parent
    .command('cache')
    .description(
      'Results that are kept: list, explain, move and remove them. `alcove run` with a key makes them.',
    );
  addCacheLsCommand(group, cli);
  addCacheInspectCommand(group, cli);
  addCacheExplainCommand(group, cli);
  addCacheRmCommand(group, cli);
  addCacheGcCommand(group, cli);
  addCacheExportCommand(group, cli);
  addCacheImportCommand(group, cli);
}
