import type { BackendVm, PhysicalState } from './backend.ts';
import { removeHalfMadeSnapshots, removeVm } from './destroy-vm.ts';
import type { JournalEntry } from './journal.ts';
import { attach, type RuntimeContext } from './runtime-context.ts';
import { statusOf } from './transitions.ts';
import type { VmStatus } from './vm.ts';
import type { VmRecord } from './vm-records.ts';

/** Why a VM is stopped whose process did not outlive a restart of the engine. */
const goneWhileAway = 'its machine was gone when the engine came back';

/**
 * Brings a VM's row and what is physically there together again, after a restart or a call that could not finish.
 * Work that was cut short is finished (destroy), taken back (snapshot), or recorded as far as it got (the rest).
 * Returns what was mended, in sentences for people. Must have the VM's lane, or be alone.
 *
 * @throws whatever the backend's `recover` does; then nothing was changed
 */
export async function reconcileVm(
  context: RuntimeContext,
  record: VmRecord,
  unfinished: readonly JournalEntry[],
): Promise<string[]> {
  const { id } = record;
  if (record.status === 'destroyed' || unfinished.some(({ op }) => op === 'destroy')) {
    await removeVm(context, record, unfinished);
    return [`VM ${id}: finished destroying it`];
  }
  const { vm } = await attach(context, record);
  const mended: string[] = [];
  if ((await removeHalfMadeSnapshots(context, unfinished)) > 0)
    mended.push(`VM ${id}: removed a snapshot that was not finished`);

  const asked = new Set(unfinished.map(({ op }) => op));
  const physical = await settle(vm, await vm.observe(), record.status, asked);
  const status = statusOf(physical, record.status);
  const reason = status === 'stopped' && !asked.has('stop') ? goneWhileAway : undefined;
  context.database.transact(() => {
    if (status !== record.status) context.vms.setStatus(id, status, reason, context.clock.now());
    context.vms.setHandle(id, vm.handle);
    for (const { seq } of unfinished) context.journal.end(seq);
  });
  context.admission.adopt(id, {
    diskMiB: record.shape.diskMiB,
    memoryMiB: physical === 'running' || physical === 'paused' ? record.shape.memoryMiB : 0,
  });
  if (status !== record.status) {
    mended.push(`VM ${id}: was ${record.status}, is ${status}${reason ? `, because ${reason}` : ''}`);
  }
  return mended;
}

/**
 * A running VM may be found paused, because the engine died between pausing it for a snapshot and letting it go on; and the other
 * way round. Unless the user asked for that change, it is taken back.
 */
async function settle(
  vm: BackendVm,
  physical: PhysicalState,
  status: VmStatus,
  asked: ReadonlySet<string>,
): Promise<PhysicalState> {
  if (physical === 'paused' && status !== 'paused' && !asked.has('pause')) {
    await vm.resume?.();
    return vm.observe();
  }
  if (physical === 'running' && status === 'paused' && !asked.has('resume')) {
    await vm.pause?.();
    return vm.observe();
  }
  return physical;
}
