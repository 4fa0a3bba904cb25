import type { BackendCallOptions } from './backend.ts';
import { destroyVm } from './destroy-vm.ts';
import { checkId, generateId, snapshotRef } from './ids.ts';
import { startVm } from './lifecycle.ts';
import { restoreVm } from './make-vm.ts';
import { removeUnneededSnapshots } from './remove-snapshot.ts';
import type { RuntimeContext } from './runtime-context.ts';
import { newSnapshotUid, takeSnapshot } from './take-snapshot.ts';
import type { VmRecord } from './vm-records.ts';
import { invalidInput } from './vm-spec.ts';

export interface ForkOptions extends BackendCallOptions {
  /** As many as VMs. @default generated */
  ids?: readonly string[];
  /** Whether they are started, each going on where the forked VM was. @default 'no' */
  start?: 'yes' | 'no';
}

/** What became of each of the VMs, in order. */
export type ForkOutcome = { id: string; record: VmRecord } | { id: string; error: Error };

/**
 * Makes VMs from one snapshot of a VM, taken now. Each succeeds or fails alone, and one that fails leaves nothing behind.
 * The snapshot is listed like any other and goes by itself with the last VM that was made from it.
 */
export async function forkVm(
  context: RuntimeContext,
  vmId: string,
  count: number,
  options: ForkOptions,
): Promise<ForkOutcome[]> {
  const { start = 'no', ids: given, ...call } = options;
  const ids = checkForkIds(context, count, given);
  const uid = newSnapshotUid(context);
  using held = context.pins.hold(uid); // From before it is there: an ephemeral snapshot that nothing needs may go at any time.
  const snapshot = await takeSnapshot(
    context,
    vmId,
    { ...call, id: generateId('fork', context.random) },
    { uid, lifetime: 'ephemeral' },
  );
  const ref = snapshotRef(snapshot.vmId, snapshot.id);
  const outcomes = await Promise.all(
    ids.map(async (id): Promise<ForkOutcome> => {
      try {
        const record = await restoreVm(context, ref, { id }, call);
        return { id, record: start === 'yes' ? await startOrDestroy(context, id, call) : record };
      } catch (error) {
        return { id, error: error instanceof Error ? error : new Error(String(error)) };
      }
    }),
  );
  held[Symbol.dispose]();
  await removeUnneededSnapshots(context);
  return outcomes;
}

async function startOrDestroy(
  context: RuntimeContext,
  id: string,
  options: BackendCallOptions,
): Promise<VmRecord> {
  try {
    return await startVm(context, id, options);
  } catch (error) {
    await destroyVm(context, id, {});
    throw error;
  }
}

function checkForkIds(
  context: RuntimeContext,
  count: number,
  given: readonly string[] | undefined,
): readonly string[] {
  const { vms } = context.admission.limits;
  if (!Number.isInteger(count) || count < 1 || count > vms)
    throw invalidInput('count', `must be a whole number from 1 to ${vms}`);
  if (!given) return Array.from({ length: count }, () => generateId('vm', context.random));
  if (given.length !== count) throw invalidInput('ids', `must name ${count} VMs, not ${given.length}`);
  if (new Set(given).size !== count) throw invalidInput('ids', 'must all differ');
  for (const id of given) checkId('ids', id);
  return given;
}
