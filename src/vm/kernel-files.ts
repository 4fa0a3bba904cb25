import type { KeptKernelFile } from '../images/index.ts';
import type { RuntimeContext } from './runtime-context.ts';
import { SpareRecords } from './spares/index.ts';

export interface UnneededOptions {
  /** Uids of snapshots that do not count, because they are about to go. */
  gone?: ReadonlySet<string>;
  /** Digests that the caller itself holds, once each. */
  ownPins?: ReadonlySet<string>;
}

/**
 * Kept kernels and initramfs that no VM, snapshot or machine made ahead of need boots, nor the next VM without a kernel of its own would. None when
 * it cannot be told what that one would boot.
 */
export async function unneededKernelFiles(
  context: RuntimeContext,
  { gone = new Set(), ownPins = new Set() }: UnneededOptions = {},
): Promise<KeptKernelFile[]> {
  const kept = await context.kernels.list();
  if (kept.length === 0) return [];
  let next: string[] = [];
  try {
    const kernel = await context.kernels.find();
    if (kernel) next = [kernel.kernelDigest, kernel.initramfsDigest];
  } catch (error) {
    context.warn(`kernels that nothing needs were not looked for: ${(error as Error).message}`);
    return [];
  }
  const needed = new Set([...next, ...digestsInRows(context, gone)]);
  return kept.filter(
    ({ digest }) => !needed.has(digest) && context.pins.countOf(digest) === (ownPins.has(digest) ? 1 : 0),
  );
}

function* digestsInRows(context: RuntimeContext, gone: ReadonlySet<string>): Iterable<string> {
  const vms = context.vms.all().filter(({ status }) => status !== 'destroyed');
  const snapshots = context.snapshots.all().filter(({ uid }) => !gone.has(uid));
  const spares = new SpareRecords(context.database).all();
  const made = [...snapshots.map(({ blueprint }) => blueprint), ...spares.map(({ recipe }) => recipe)];
  for (const { shape } of [...vms, ...made]) {
    yield shape.kernel.kernelDigest;
    yield shape.kernel.initramfsDigest;
  }
}
