import { sessionLabel } from '../vm/index.ts';
import { backupLabel, type SessionsContext } from './context.ts';
import { machineOf } from './machine.ts';

/**
 * Brings rows and machines together after an engine that died: machines that no row names were half-made, or about to be removed, and go; a
 * row whose machine is not there says so. Returns what was mended, in sentences for people.
 */
export async function reconcile(context: SessionsContext): Promise<string[]> {
  const { runtime, records, places } = context;
  const mended: string[] = [];
  const named = new Set<string>();
  for (const record of records.all()) {
    if (record.phase !== 'here' || record.vmId === undefined) continue;
    const machine = await machineOf(context, record.vmId);
    if (machine) {
      named.add(record.vmId);
      places.adopt(record.vmId);
      // From here on no clock that is set can make them older.
      context.idle.ms(record.id, record.usedAtMs);
      if (machine.status === 'stopped') context.stopped.ms(record.id, machine.changedAtMs);
    } else {
      records.put({ ...record, phase: 'lost', vmId: undefined });
      mended.push(`session ${record.id} is lost: its machine ${record.vmId} is not there`);
    }
  }
  for (const { id, status, labels } of await runtime.list()) {
    const isLeft =
      labels[backupLabel] !== undefined || (labels[sessionLabel] !== undefined && !named.has(id));
    if (status !== 'destroyed' && isLeft) mended.push(await destroyLeft(context, id));
  }
  for (const { ref } of runtime.snapshots.labelled(backupLabel)) {
    await runtime.snapshots.release(ref);
    mended.push(`removed snapshot ${ref}, left by a backup`);
  }
  return mended;
}

async function destroyLeft({ runtime, places }: SessionsContext, vmId: string): Promise<string> {
  try {
    await runtime.destroy(vmId);
    return `destroyed VM ${vmId}, left by work on a session`;
  } catch (error) {
    places.adopt(vmId); // It is there, and takes room, until an engine can end it.
    return `VM ${vmId}, left by work on a session, could not be destroyed: ${(error as Error).message}`;
  }
}
