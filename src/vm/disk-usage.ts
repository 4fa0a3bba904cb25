import type { Keepsake } from './backend.ts';
import { shareOut } from './disk-use.ts';
import { snapshotRef } from './ids.ts';
import { type RuntimeContext, snapshotDir, vmDir } from './runtime-context.ts';
import type { DiskUse, SnapshotRef, VmStatus } from './vm.ts';

/**
 * What a state directory takes of the disk, as blocks that are really taken. Layers of disks and of memory are shared: they count for
 * each of those that use them, and once in `totalBytes`.
 */
export interface DiskUsage {
  /** Sorted by id. */
  vms: (DiskUse & { id: string; status: VmStatus })[];
  /** In creation order; also those that are not listed, because their files are damaged. */
  snapshots: (DiskUse & { ref: SnapshotRef; state: 'whole' | 'damaged' })[];
  images: (DiskUse & { digest: string; references: readonly string[] })[];
  /** What backends keep to be fast; all of it can be made again. */
  templates: (DiskUse & Omit<Keepsake, 'paths' | 'neededBy'> & { backend: string; neededBy?: string })[];
  /** Kernels and initramfs. */
  kernels: DiskUse;
  /** Machines made ahead of need. */
  spares: DiskUse;
  /** The database, half-made files, and what is nobody's. */
  rest: DiskUse;
  totalBytes: number;
}

/** Looks at every file of the state directory once. */
export async function diskUsage(context: RuntimeContext): Promise<DiskUsage> {
  const { root, kernelsDir, sparesDir } = context.places;
  const vms = context.vms.all().filter(({ status }) => status !== 'destroyed');
  const snapshots = context.snapshots.all();
  const images = await context.images.list();
  const templates = await keepsakesOf(context);
  const owners = new Map<string, object | string>([
    ...vms.map((vm) => [vmDir(context, vm.id), vm] as const),
    ...snapshots.map((snapshot) => [snapshotDir(context, snapshot.uid), snapshot] as const),
    ...images.map((image) => [image.rootfsPath, image] as const),
    ...templates.flatMap((template) => template.keepsake.paths.map((path) => [path, template] as const)),
    [kernelsDir, 'kernels'],
    [sparesDir, 'spares'],
  ]);
  const { uses, unowned, totalBytes } = await shareOut(root, owners);
  const use = (owner: object | string): DiskUse => uses.get(owner) ?? { sizeBytes: 0, ownBytes: 0 };
  return {
    vms: vms.map((vm) => ({ id: vm.id, status: vm.status, ...use(vm) })),
    snapshots: snapshots.map((snapshot) => ({
      ref: snapshotRef(snapshot.vmId, snapshot.id),
      state: snapshot.lifetime === 'lost' ? 'damaged' : 'whole',
      ...use(snapshot),
    })),
    images: images.map((image) => ({ digest: image.digest, references: image.references, ...use(image) })),
    templates: templates.map((template) => {
      const { name, kind, of, lastUsedMs, neededBy } = template.keepsake;
      const { backend } = template;
      return {
        backend,
        name,
        kind,
        of,
        lastUsedMs,
        ...(neededBy !== undefined && { neededBy }),
        ...use(template),
      };
    }),
    kernels: use('kernels'),
    spares: use('spares'),
    rest: unowned,
    totalBytes,
  };
}

/** What the backends keep, each with whose it is. */
export async function keepsakesOf(
  context: RuntimeContext,
): Promise<{ backend: string; keepsake: Keepsake }[]> {
  const lists = context.backends.all.map(async ({ name, keepsakes }) =>
    ((await keepsakes?.list()) ?? []).map((keepsake) => ({ backend: name, keepsake })),
  );
  return (await Promise.all(lists)).flat();
}
