import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { SnapshotRef } from '../../../vm/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { invalidFlag } from '../../invalid-flag.ts';
import type { Invocation } from '../../invocation.ts';
import { parseSnapshotRef } from '../../snapshot-ref.ts';
import { writeStream } from '../../write-stream.ts';
import { writeWhole } from '../../write-whole.ts';

export function addSnapshotExportCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('export')
    .description(
      'Write a snapshot to one file that can be imported elsewhere: its disk, and memory where it has it, its image and kernel, and a checksum. Prints the name of the file.',
    )
    .argument('<snapshot>', 'VM/SNAPSHOT')
    .option(
      '-o, --output <file>',
      'where to, in place of what is there; - for standard output (default: VM-SNAPSHOT.alcove)',
    )
    .action(
      cli.action((invocation, name: string, { output }: { output?: string }) =>
        exportSnapshot(invocation, parseSnapshotRef(name), output),
      ),
    );
  addExamples(command, [
    ['alcove snapshot export web/before', 'To web-before.alcove.'],
    ['alcove snapshot export web/before -o - | ssh host alcove snapshot import -', 'To another host.'],
  ]);
}

async function exportSnapshot(
  invocation: Invocation,
  ref: SnapshotRef,
  output = `${ref.replace('/', '-')}.alcove`,
): Promise<number> {
  const { io, call, signal } = invocation;
  if (output === '') throw invalidFlag('--output', 'the path is empty');
  if (output === '-' && io.terminal.isTerminal('stdout')) {
    throw invalidFlag(
      '--output',
      'an archive is not shown on a terminal',
      'Name a file, or pipe it to a program.',
    );
  }
  return invocation.withEngine(async (alcove) => {
    const archive = alcove.snapshots.export(ref, call);
    if (output === '-') {
      for await (const chunk of archive) await writeStream(io.stdout, chunk, signal);
      return 0;
    }
    const file = resolve(output);
    const sizeBytes = await writeWhole(file, archive);
    await invocation.show({ ref, file, sizeBytes }, () => output);
    return 0;
  });
}
