import { diskUseOf } from './disk-use.ts';
import { type RuntimeContext, vmDir } from './runtime-context.ts';
import { snapshotInfo } from './snapshot-info.ts';
import type { SnapshotRecord } from './snapshot-records.ts';
import type { DiskUse, SnapshotInfo, VmInfo } from './vm.ts';
import { vmInfo } from './vm-info.ts';

/**
 * A state that a machine was in, or is in, and what came of it. Below a snapshot stand the snapshots taken next in its line, and the
 * VMs that go on from it: the one it was taken of, and those made from it.
 */
export type LineageNode =
  | { kind: 'snapshot'; snapshot: SnapshotInfo; children: LineageNode[] }
  | { kind: 'vm'; vm: VmInfo & DiskUse; children: [] };

/**
 * All VMs and listed snapshots by descent, oldest first. What descends from a snapshot that is no longer listed stands where that one
 * would.
 *
 * @param options.vmId only the trees in which a VM or a snapshot of that id stands
 */
export async function lineage(
  context: RuntimeContext,
  { vmId }: { vmId?: string } = {},
): Promise<LineageNode[]> {
  const records = new Map(context.snapshots.all().map((record) => [record.uid, record]));
  const nodes = new Map<string, LineageNode & { kind: 'snapshot' }>();
  const roots: LineageNode[] = [];
  for (const record of records.values()) {
    if (record.lifetime === 'lost') continue;
    nodes.set(record.uid, { kind: 'snapshot', snapshot: await snapshotInfo(context, record), children: [] });
  }
  const siblingsBelow = (uid: string | undefined) => nearest(uid, records, nodes)?.children ?? roots;
  for (const [uid, node] of nodes) siblingsBelow(records.get(uid)?.parentUid).push(node);
  for (const record of context.vms.all()) {
    if (record.status === 'destroyed') continue;
    const info = vmInfo(record, context.snapshots.idsOfVm(record));
    const vm = { ...info, ...(await diskUseOf(vmDir(context, record.id))) };
    siblingsBelow(record.lineUid).push({ kind: 'vm', vm, children: [] });
  }
  sort(roots);
  return vmId === undefined ? roots : roots.filter((root) => mentions(root, vmId));
}

function nearest<Node>(
  uid: string | undefined,
  records: ReadonlyMap<string, SnapshotRecord>,
  nodes: ReadonlyMap<string, Node>,
): Node | undefined {
  let at = uid;
  while (at !== undefined) {
    const node = nodes.get(at);
    if (node) return node;
    at = records.get(at)?.parentUid;
  }
  return undefined;
}

function sort(nodes: LineageNode[]): void {
  nodes.sort((a, b) => createdAtMs(a) - createdAtMs(b));
  for (const { children } of nodes) sort(children);
}

function createdAtMs(node: LineageNode): number {
  return node.kind === 'vm' ? node.vm.createdAtMs : node.snapshot.createdAtMs;
}

function mentions(node: LineageNode, vmId: string): boolean {
  const id = node.kind === 'vm' ? node.vm.id : node.snapshot.vmId;
  return id === vmId || node.children.some((child) => mentions(child, vmId));
}
