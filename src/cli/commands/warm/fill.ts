import { type Command, Option } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import type { Invocation } from '../../invocation.ts';
import { parseCount } from '../../parse-count.ts';
import { parseSnapshotRef } from '../../snapshot-ref.ts';
import { shapeOf, shapeOptions, type VmFlags } from '../../vm-options.ts';

interface FillFlags extends Omit<VmFlags, 'image' | 'label'> {
  count?: number;
  snapshot?: string;
}

const mostAtOnce = 1000;

export function addWarmFillCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('fill')
    .description(
      'Make machines for an image, for copies of a snapshot with memory, or for any image; and print their ids. They wait until a run or start takes them, or they are dropped.',
    )
    .argument('[image]', 'reference or digest of an image; without it, for any image')
    .addOption(
      new Option('-n, --count <n>', 'how many (default: 1)').argParser((text) =>
        parseCount('--count', text, mostAtOnce),
      ),
    )
    .option('--snapshot <snapshot>', 'VM/SNAPSHOT: for VMs restored from it')
    .action(cli.action(fill));
  for (const flag of shapeOptions()) command.addOption(flag.helpGroup('Machine:'));
  addExamples(command, [
    ['alcove warm fill builtin && alcove run -- uname -a', 'The run takes the machine that waits.'],
    ['alcove warm fill debian:12 -n 3 --memory 1G', 'For runs of that image with as much memory.'],
    ['alcove warm fill --snapshot web/before', 'For the next VM restored from it.'],
  ]);
}

async function fill(
  invocation: Invocation,
  image: string | undefined,
  { count, snapshot, ...shape }: FillFlags,
): Promise<number> {
  return invocation.withEngine(async (alcove) => {
    const made = await alcove.warm.fill(
      {
        ...shapeOf(shape),
        ...(image !== undefined && { image }),
        ...(snapshot !== undefined && { snapshot: parseSnapshotRef(snapshot) }),
        ...(count !== undefined && { count }),
      },
      invocation.call,
    );
    await invocation.show(made, () => made.map(({ id }) => id).join('\n'));
    return 0;
  });
}
