import type { Command } from 'commander';
import type { LineageNode } from '../../../vm/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { branchesFor, drawTree } from '../../draw-tree.ts';
import { formatAge, formatBytes } from '../../human.ts';
import { showList } from '../../show-list.ts';

export function addSnapshotTreeCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('tree')
    .description(
      'Draw what came of what: below a snapshot stand the ones taken next, and the VMs that go on from it. OWN is what nothing else uses.',
    )
    .argument('[vm]', 'only the trees in which this VM or a snapshot of it stands')
    .action(
      cli.action(async (invocation, vmId: string | undefined) =>
        invocation.withEngine(async (alcove) => {
          const roots = await alcove.snapshots.tree(vmId === undefined ? {} : { vmId });
          const { io } = invocation;
          const now = io.clock.now();
          const rows = [...drawTree(roots, branchesFor(io))];
          await showList(
            invocation,
            rows,
            {
              name: ({ node }) => nameOf(node),
              empty:
                vmId === undefined ? 'No VMs and no snapshots.' : `No VM ${vmId}, and no snapshot of it.`,
              columns: [
                { title: 'NAME', value: ({ node, branch }) => branch + nameOf(node) },
                { title: 'KIND', value: ({ node }) => (node.kind === 'vm' ? 'vm' : node.snapshot.kind) },
                { title: 'STATUS', value: ({ node }) => (node.kind === 'vm' ? node.vm.status : '') },
                { title: 'OWN', value: ({ node }) => formatBytes(useOf(node).ownBytes), align: 'right' },
                {
                  title: 'SHARED',
                  value: ({ node }) => formatBytes(useOf(node).sizeBytes - useOf(node).ownBytes),
                  align: 'right',
                },
                { title: 'CREATED', value: ({ node }) => formatAge(useOf(node).createdAtMs, now) },
              ],
            },
            roots,
          );
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove snapshot tree', 'Everything.'],
    ['alcove snapshot tree web', 'Where the VM `web` comes from, and what came of its snapshots.'],
    ['alcove snapshot tree --json', 'For programs: nodes with `kind`, `vm` or `snapshot`, and `children`.'],
  ]);
}

function nameOf(node: LineageNode): string {
  return node.kind === 'vm' ? node.vm.id : node.snapshot.ref;
}

function useOf(node: LineageNode) {
  return node.kind === 'vm' ? node.vm : node.snapshot;
}
