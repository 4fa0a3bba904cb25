import { cancelled } from '../../errors.ts';
import type { BackendCallOptions } from '../backend.ts';
import { diskUseOf } from '../disk-use.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import { formatSpan } from './format-span.ts';
import type { Garbage, GarbageItem } from './garbage.ts';
import { unknownDirectories } from './unknown-directories.ts';
import { unneededSnapshots } from './unneeded-snapshots.ts';
import { staleHalfMadeFiles, unusedImages, unusedKernels } from './unused-files.ts';
import { unusedKeepsakes } from './unused-keepsakes.ts';

export interface GarbageOptions {
  /** Only says what would go. */
  dryRun?: true;
  /** How long templates, caches and kernels must not have been used to go, in ms. @default 7 days */
  unusedForMs?: number;
  /** Whether images go that no VM and no snapshot needs. @default 'keep' */
  images?: 'keep' | 'remove';
}

export interface GarbageReport {
  /** What went; with `dryRun`, what would. */
  removed: GarbageItem[];
  /** What was garbage at first, and stays: somebody needs it by now, or it could not be removed. */
  kept: (GarbageItem & { because: string })[];
  /** What that gives back, or would. Files that several of them share count once, and those that something else uses not at all. */
  freedBytes: number;
}

const defaultUnusedForMs = 7 * 86_400_000;

/**
 * Removes what nothing refers to. What is removed is decided first, and is the same whether it is a dry run or not; each of it is looked
 * at again before it goes. An engine that dies in between leaves only garbage: each removal is whole or not done, and what refers
 * goes before what it refers to.
 *
 * @throws AlcoveError `Cancelled`; what went before that is gone
 */
export async function collectGarbage(
  context: RuntimeContext,
  options: GarbageOptions & BackendCallOptions & { retentionMs: number },
): Promise<GarbageReport> {
  const { signal, onProgress } = options;
  onProgress?.('looking for garbage');
  const garbage = await findGarbage(context, options);
  const items = new Map<Garbage, GarbageItem>();
  for (const one of garbage) items.set(one, await itemOf(one));
  const report: GarbageReport = { removed: [], kept: [], freedBytes: 0 };
  if (options.dryRun) {
    report.removed = [...items.values()];
    report.freedBytes = await bytesOf(garbage);
    return report;
  }
  await context.at('gc.planned');
  const before = await bytesOf(garbage);
  const left: Garbage[] = [];
  for (const [one, item] of items) {
    if (signal?.aborted) throw cancelled('collecting garbage', signal);
    onProgress?.(`removing ${item.kind} ${item.name}`);
    await context.at('gc.removing');
    const outcome = await tryToRemove(one);
    await context.at('gc.removed');
    if (outcome === 'removed') {
      report.removed.push(item);
    } else {
      report.kept.push({ ...item, because: outcome.stays });
      left.push(one);
    }
  }
  report.freedBytes = before - (await bytesOf(left));
  return report;
}

/** In the order in which it goes. */
async function findGarbage(
  context: RuntimeContext,
  { retentionMs, unusedForMs = defaultUnusedForMs, images }: GarbageOptions & { retentionMs: number },
): Promise<Garbage[]> {
  const snapshots = await unneededSnapshots(context);
  const gone = new Set(snapshots.map(({ uid }) => uid));
  return [
    ...snapshots.map(({ garbage }) => garbage),
    ...(await unknownDirectories(context)),
    ...expiredRecords(context, retentionMs),
    ...(await unusedKeepsakes(context, unusedForMs)),
    ...(images === 'remove' ? await unusedImages(context, gone) : []),
    ...(await unusedKernels(context, gone, unusedForMs)),
    ...(await staleHalfMadeFiles(context)),
  ];
}

/** Rows of VMs that were destroyed longer ago than they stay listed. */
function expiredRecords(context: RuntimeContext, retentionMs: number): Garbage[] {
  const nowMs = context.clock.now();
  const expired = context.vms
    .all()
    .filter(({ status, changedAtMs }) => status === 'destroyed' && nowMs - changedAtMs >= retentionMs);
  return expired.map(({ id, changedAtMs }) => ({
    kind: 'vm record',
    name: id,
    why: `it was destroyed ${formatSpan(nowMs - changedAtMs)} ago`,
    paths: [],
    remove: async () => {
      context.vms.purgeDestroyed(nowMs - retentionMs);
      return 'removed';
    },
  }));
}

async function tryToRemove(garbage: Garbage): Promise<'removed' | { stays: string }> {
  try {
    return await garbage.remove();
  } catch (error) {
    return { stays: `it could not be removed: ${(error as Error).message}` };
  }
}

async function itemOf({ kind, name, why, paths }: Garbage): Promise<GarbageItem> {
  const { ownBytes } = await diskUseOf(...paths);
  return { kind, name, why, bytes: ownBytes };
}

async function bytesOf(garbage: readonly Garbage[]): Promise<number> {
  const { ownBytes } = await diskUseOf(...garbage.flatMap(({ paths }) => paths));
  return ownBytes;
}
