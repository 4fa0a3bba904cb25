import type { Command } from 'commander';
import { packageVersion } from '../../host/index.ts';
import { addExamples, type Cli } from '../action.ts';

export function addVersionCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('version')
    .description('Print the versions of Alcove and Node.')
    .action(
      cli.action(async (invocation) => {
        const facts = {
          alcove: packageVersion(),
          node: process.versions.node,
          platform: `${process.platform}-${process.arch}`,
        };
        await invocation.show(facts, () => `alcove ${facts.alcove} (node ${facts.node}, ${facts.platform})`);
        return 0;
      }),
    );
  addExamples(command, [['alcove version --json', 'As JSON: {"alcove", "node", "platform"}.']]);
}
