import type { Command } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { removeEach } from '../../for-each.ts';

export function addImageRmCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('rm')
    .description('Remove images. One that a VM or a snapshot uses is refused.')
    .argument('<image...>', 'references or digests')
    .action(
      cli.action((invocation, references: string[]) =>
        removeEach(invocation, references, (alcove, reference) => alcove.images.remove(reference)),
      ),
    );
  addExamples(command, [['alcove image rm debian:12', 'Its file goes, too.']]);
}
