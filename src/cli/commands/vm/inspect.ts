import type { Command } from 'commander';
import { AlcoveError } from '../../../errors.ts';
import { addExamples, type Cli } from '../../action.ts';
import { formatAge, formatMib, shortDigest } from '../../human.ts';
import { renderFacts } from '../../table.ts';

export function addVmInspectCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('inspect')
    .description('Show all that is known of a VM.')
    .argument('<vm>', 'id of a VM')
    .action(
      cli.action(async (invocation, vmId: string) =>
        invocation.withEngine(async (alcove) => {
          const vm = await alcove.get(vmId);
          if (!vm) throw new AlcoveError('VmNotFound', `there is no VM ${vmId}`, { details: { vmId } });
          const now = invocation.io.clock.now();
          await invocation.show(vm, () =>
            renderFacts([
              ['id', vm.id],
              ['status', `${vm.status} (${formatAge(vm.changedAtMs, now)})`],
              ['reason', vm.reason],
              ['image', `${vm.image.reference} (${shortDigest(vm.image.digest)})`],
              ['from', vm.from],
              ['backend', vm.backend],
              ['cpus', String(vm.cpus)],
              ['memory', formatMib(vm.memoryMiB)],
              ['disk', `${formatMib(vm.diskMiB)} at most`],
              ['network', vm.network],
              ...assignments('env', vm.env),
              ...assignments('label', vm.labels),
              ['created', formatAge(vm.createdAtMs, now)],
              ...vm.snapshots.map((id) => ['snapshot', `${vm.id}/${id}`] as const),
            ]),
          );
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove vm inspect web', 'For people.'],
    ['alcove vm inspect web --json', 'For programs.'],
  ]);
}

function assignments(name: string, values: Readonly<Record<string, string>>): (readonly [string, string])[] {
  return Object.entries(values).map(([key, value]) => [name, `${key}=${value}`] as const);
}
