import type { Command } from 'commander';
import { Option } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { invalidFlag } from '../../invalid-flag.ts';
import { type Invocation, styleFor } from '../../invocation.ts';
import { parseCount } from '../../parse-count.ts';
import { exitCodeOf, plainError, printError, toAlcoveError } from '../../print-error.ts';

interface ForkFlags {
  count?: number;
  id?: string[];
  /** Commander's form of `--no-start`. */
  start: boolean;
}

const mostForks = 1000;

export function addVmForkCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('fork')
    .description(
      'Make VMs from one as it is now, start them, and print their ids: copies of a running VM go on with its processes. The VM itself goes on as before.',
    )
    .argument('<vm>', 'id of a VM')
    .addOption(
      new Option('-n, --count <n>', 'how many (default: 1, or one for each --id)').argParser((text) =>
        parseCount('--count', text, mostForks),
      ),
    )
    .addOption(
      new Option('--id <id>', 'id of a new VM; may be repeated (default: made up)').argParser(
        (text, before: string[] = []) => [...before, text],
      ),
    )
    .option('--no-start', 'make them, do not start them')
    .action(cli.action(fork));
  addExamples(command, [
    ['alcove vm fork web -n 3', 'Three running VMs.'],
    ['alcove vm fork web --id web-a --id web-b', 'Two, with ids of your choice.'],
  ]);
}

async function fork(
  invocation: Invocation,
  vmId: string,
  { count, id: ids, start }: ForkFlags,
): Promise<number> {
  if (ids && count !== undefined && count !== ids.length) {
    throw invalidFlag(
      '--count',
      `${count} VMs, but ${ids.length} ids`,
      'Give --id for each of them, or for none.',
    );
  }
  const { io, globals } = invocation;
  return invocation.withEngine(async (alcove) => {
    const vm = await alcove.vm(vmId);
    const results = await vm.fork(count ?? ids?.length ?? 1, {
      ...invocation.call,
      ...(ids && { ids }),
      start: start ? 'yes' : 'no',
    });
    invocation.progress.end();
    const failures = results.flatMap((result) => ('error' in result ? [toAlcoveError(result.error)] : []));
    for (const failure of failures)
      printError(failure, { io, globals, style: styleFor('stderr', io, globals) });
    await invocation.show(
      results.map((result) =>
        'error' in result ? { id: result.id, error: plainError(toAlcoveError(result.error)) } : result,
      ),
      () => results.flatMap((result) => ('error' in result ? [] : [result.id])).join('\n'),
    );
    return failures[0] ? exitCodeOf(failures[0]) : 0;
  });
}
