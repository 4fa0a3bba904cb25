import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Option } from 'commander';
import type { SnapshotRef } from '../../../vm/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import type { Invocation } from '../../invocation.ts';
import { readHostFile } from '../../read-host-file.ts';
import { readInput } from '../../read-input.ts';
import { parseSnapshotRef } from '../../snapshot-ref.ts';

export function addSnapshotImportCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('import')
    .description(
      'Take in a snapshot that was exported, with its image and kernel where they are not here, and print its name. Every byte is compared with the file’s checksums first; one that is damaged leaves nothing.',
    )
    .argument('<file>', 'what `alcove snapshot export` wrote; - for standard input')
    .addOption(
      new Option('--as <snapshot>', 'VM/SNAPSHOT: what it is called here (default: as it was)').argParser(
        parseSnapshotRef,
      ),
    )
    .action(
      cli.action((invocation, file: string, { as }: { as?: SnapshotRef }) =>
        importFile(invocation, file, as),
      ),
    );
  addExamples(command, [
    ['alcove snapshot import web-before.alcove', 'Prints web/before.'],
    ['alcove snapshot import web-before.alcove --as web/from-afar', 'Under another name.'],
    ['alcove vm restore web/before --id web-2 --start', 'Then a VM can be made of it.'],
  ]);
}

async function importFile(
  invocation: Invocation,
  file: string,
  as: SnapshotRef | undefined,
): Promise<number> {
  const { io, call } = invocation;
  return invocation.withEngine(async (alcove) => {
    using input = file === '-' ? readInput(io.stdin) : undefined;
    const snapshot = await alcove.snapshots.import(input ?? readHostFile(resolve(file)), {
      ...call,
      ...(as !== undefined && { as }),
    });
    await invocation.show(snapshot, () => snapshot.ref);
    return 0;
  });
}
