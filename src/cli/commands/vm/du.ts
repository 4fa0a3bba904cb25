import type { Command } from 'commander';
import { AlcoveError } from '../../../errors.ts';
import type { DiskUsage, DiskUse } from '../../../vm/index.ts';
import { addExamples, type Cli } from '../../action.ts';
import { formatBytes, shortDigest } from '../../human.ts';
import { renderTable } from '../../table.ts';

export function addVmDuCommand(parent: Command, cli: Cli): void {
  const command = parent
    .command('du')
    .description(
      'Show what VMs, snapshots, images and the rest take of the disk. OWN is free again when it goes; SHARED is used by others too. The total counts what is shared once.',
    )
    .argument('[vm...]', 'only these VMs, and snapshots of their names')
    .action(
      cli.action(async (invocation, ids: string[]) =>
        invocation.withEngine(async (alcove) => {
          invocation.progress.step('looking at the files');
          const usage = await alcove.diskUsage(invocation.call);
          const shown = ids.length === 0 ? usage : only(ids, usage);
          const rows = rowsOf(shown);
          await invocation.show(shown, () => {
            if (invocation.globals.verbosity === 'quiet') return rows.map(({ name }) => name).join('\n');
            const table = renderTable(rows, columns, invocation.width);
            const own = rows.reduce((sum, { ownBytes }) => sum + ownBytes, 0);
            return isAll(shown)
              ? `${table}\n\n${formatBytes(shown.totalBytes)} in all`
              : `${table}\n\n${formatBytes(own)} of their own`;
          });
          return 0;
        }),
      ),
    );
  addExamples(command, [
    ['alcove vm du', 'Everything in the state directory.'],
    ['alcove vm du web', 'The VM `web` and its snapshots.'],
    ['alcove vm du --json', 'In bytes.'],
  ]);
}

type Part = Pick<DiskUsage, 'vms' | 'snapshots'>;

function isAll(usage: DiskUsage | Part): usage is DiskUsage {
  return 'totalBytes' in usage;
}

interface Row extends DiskUse {
  kind: string;
  name: string;
}

const columns = [
  { title: 'KIND', value: ({ kind }: Row) => kind },
  { title: 'NAME', value: ({ name }: Row) => name },
  { title: 'OWN', value: ({ ownBytes }: Row) => formatBytes(ownBytes), align: 'right' as const },
  {
    title: 'SHARED',
    value: ({ sizeBytes, ownBytes }: Row) => formatBytes(sizeBytes - ownBytes),
    align: 'right' as const,
  },
];

/** @throws AlcoveError `VmNotFound` */
function only(ids: readonly string[], { vms, snapshots }: DiskUsage): Part {
  const isOf = (id: string, ref: string) => ref.startsWith(`${id}/`);
  for (const id of ids) {
    if (vms.some((vm) => vm.id === id) || snapshots.some(({ ref }) => isOf(id, ref))) continue;
    throw new AlcoveError('VmNotFound', `there is no VM ${id}, and no snapshot of it`, {
      details: { vmId: id },
    });
  }
  return {
    vms: vms.filter(({ id }) => ids.includes(id)),
    snapshots: snapshots.filter(({ ref }) => ids.some((id) => isOf(id, ref))),
  };
}

function rowsOf(usage: DiskUsage | Part): Row[] {
  const rows: Row[] = [
    ...usage.vms.map((vm) => ({ ...vm, kind: 'vm', name: vm.id })),
    ...usage.snapshots.map((snapshot) => ({
      ...snapshot,
      kind: snapshot.state === 'whole' ? 'snapshot' : 'damaged snapshot',
      name: snapshot.ref,
    })),
  ];
  if (!isAll(usage)) return rows;
  const { images, templates, kernels, spares, rest } = usage;
  return [
    ...rows,
    ...images.map((image) => ({
      ...image,
      kind: 'image',
      name: image.references.at(-1) ?? shortDigest(image.digest),
    })),
    ...templates.map((template) => ({ ...template, name: template.of })),
    { ...kernels, kind: 'kernels', name: '' },
    { ...spares, kind: 'warm machines', name: '' },
    { ...rest, kind: 'the rest', name: '' },
  ].filter(({ kind, sizeBytes }) => sizeBytes > 0 || kind === 'vm' || kind === 'snapshot');
}
