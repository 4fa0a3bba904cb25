import type { Command } from 'commander';
import { Option } from 'commander';
import { addExamples, type Cli } from '../../action.ts';
import { forEachVm } from '../../for-each.ts';
import { parseDuration } from '../../parse-duration.ts';

interface StopFlags {
  memory?: true;
  grace?: number;
}

export function addVmStopCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('stop')
    .description('Stop running or paused VMs. Their disks stay.')
    .argument('<vm...>', 'ids of VMs')
    .option('--memory', 'keep memory, too: its processes go on at the next start')
    .addOption(
      new Option('--grace <time>', 'time for the guest to end by itself').argParser((text) =>
        parseDuration('--grace', text),
      ),
    )
    .action(
      cli.action((invocation, ids: string[], { memory, grace }: StopFlags) =>
        forEachVm(invocation, ids, 'stopping', (vm) =>
          vm.stop({
            ...invocation.call,
            ...(memory && { memory }),
            ...(grace !== undefined && { graceMs: grace }),
          }),
        ),
      ),
    );
  addExamples(command, [
    ['alcove vm stop web', 'As when a machine is shut down.'],
    ['alcove vm stop --memory web', 'As when a lid is closed: `alcove vm start web` goes on from there.'],
    ['alcove vm stop --grace 0s web', 'At once: what its processes had not written is lost.'],
  ]);
}
