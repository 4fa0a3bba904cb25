import { cancelled, isAlcoveError } from '../errors.ts';
import type { BackendVm } from './backend.ts';
import type { JournalOp } from './journal.ts';
import type { Machine } from './machine.ts';
import { reconcileVm } from './reconcile-vm.ts';
import { vmDied } from './run.ts';
import { attach, beginJournal, type RuntimeContext, vmDir } from './runtime-context.ts';
import type { Claim } from './spares/index.ts';
import { statusAfter, statusOf, type VmCall, vmNotFound } from './transitions.ts';
import type { VmStatus } from './vm.ts';
import type { VmRecord } from './vm-records.ts';

/** A VM on whose lane it is now one call's turn. */
export interface Turn {
  record: VmRecord;
  /** The status the call leads to. */
  to: VmStatus;
}

/**
 * Waits for a call's turn on a VM, mends what an earlier call left unfinished, and checks the table. When the VM dies while
 * the call is under way, the caller hears of it at once, though the lane stays taken until the backend has finished with the call.
 *
 * @throws AlcoveError `VmNotFound`, `InvalidTransition`, `Cancelled`, `VmFailed`
 */
export async function onTurn<T>(
  context: RuntimeContext,
  id: string,
  call: VmCall,
  signal: AbortSignal | undefined,
  work: (turn: Turn) => Promise<T>,
): Promise<T> {
  const death = Promise.withResolvers<never>();
  let stopListening: (() => void) | undefined;
  const done = context.lanes.run(
    id,
    `${call} of VM ${id}`,
    async () => {
      const record = await recordForCall(context, id, call);
      const to = statusAfter(id, record?.status, call);
      if (!record) throw vmNotFound(id);
      // A stop is not told: the machine's end is what it wants.
      if (call !== 'stop' && (record.status === 'running' || record.status === 'paused')) {
        const { run } = context.machines.of(id);
        stopListening = run.onEnd((reason) => {
          if (reason !== undefined) death.reject(vmDied(id, reason));
        });
      }
      return work({ record, to });
    },
    signal,
  );
  try {
    return await Promise.race([done, death.promise]);
  } finally {
    stopListening?.();
  }
}

/** A stop goes on where mending finds a machine that does not answer: it is what ends such a one. */
async function recordForCall(
  context: RuntimeContext,
  id: string,
  call: VmCall,
): Promise<VmRecord | undefined> {
  try {
    return await settledRecord(context, id);
  } catch (error) {
    if (call !== 'stop' || !isAlcoveError(error, 'VmFailed')) throw error;
    return context.vms.find(id);
  }
}

/** A VM's row, after mending what an earlier call could not finish. */
export async function settledRecord(context: RuntimeContext, id: string): Promise<VmRecord | undefined> {
  const record = context.vms.find(id);
  if (!record) return undefined;
  const unfinished = context.journal.entriesOf(id);
  if (unfinished.length === 0) return record;
  for (const sentence of await reconcileVm(context, record, unfinished)) context.warn(sentence);
  return context.vms.find(id);
}

/**
 * Ends by force, its disk kept, what runs for a VM whose machine does not answer when it is looked for; so that one that stays
 * silent can be stopped. Does nothing for a VM that is found.
 */
export async function endSilentMachine(
  context: RuntimeContext,
  record: VmRecord,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await attach(context, record);
  } catch (error) {
    if (!isAlcoveError(error, 'VmFailed')) throw error;
    if (signal?.aborted) throw cancelled(`stopping VM ${record.id}`, signal);
    context.warn(`VM ${record.id} is ended by force: ${error.message}`);
    await context.backends.named(record.backend).reap({ id: record.id, dir: vmDir(context, record.id) });
  }
}

/** One journalled call that changes a VM's status: intent, physical work, row. @param claim the spare that a start takes */
export async function changeStatus(
  context: RuntimeContext,
  turn: Turn,
  op: JournalOp & ('start' | 'stop' | 'pause' | 'resume'),
  work: (vm: BackendVm, machine: Machine) => Promise<void>,
  claim?: Claim,
): Promise<VmRecord> {
  const { record, to } = turn;
  const seq = await beginJournal(context, { op, vmId: record.id }, claim?.commit);
  let attached: BackendVm | undefined;
  try {
    if (claim) await context.at('spare.claimed');
    const { machine, vm } = await attach(context, record);
    attached = vm;
    if (op === 'start') machine.beginRun();
    await work(vm, machine);
    if (op === 'stop') machine.run.finish();
    await context.at(`${op}.done`);
    const died = op === 'stop' ? undefined : machine.run.reason;
    const status = died === undefined ? to : 'stopped';
    recordStatus(context, record.id, seq, status, died, vm);
    await context.at(`${op}.committed`);
    if (died !== undefined) throw vmDied(record.id, died);
    return context.vms.find(record.id) ?? record;
  } catch (error) {
    await recordTruth(context, record.id, seq, attached, error);
    throw error;
  }
}

/**
 * After a call that failed: records what is physically there, so that status and truth do not part.
 *
 * @param seq the call's intent, which ends with it; `undefined` when it stays, to be finished later
 */
export async function recordTruth(
  context: RuntimeContext,
  id: string,
  seq: number | undefined,
  vm: BackendVm | undefined,
  error: unknown,
): Promise<void> {
  try {
    const record = context.vms.find(id);
    if (!record) return;
    if (!vm) {
      if (seq !== undefined) context.journal.end(seq); // Nothing was touched: the VM was not even found.
      if (record.status === 'created' || record.status === 'stopped') context.admission.releaseMemory(id);
      return;
    }
    const status = statusOf(await vm.observe(), record.status);
    const reason = status === 'stopped' && record.status !== 'stopped' ? messageOf(error) : record.reason;
    recordStatus(context, id, seq, status, reason, vm);
  } catch (failure) {
    context.warn(`could not find out what became of VM ${id}: ${messageOf(failure)}`);
  }
}

function recordStatus(
  context: RuntimeContext,
  id: string,
  seq: number | undefined,
  status: VmStatus,
  reason: string | undefined,
  vm: BackendVm,
): void {
  const before = context.vms.find(id)?.status;
  context.database.transact(() => {
    if (status !== before) context.vms.setStatus(id, status, reason, context.clock.now());
    context.vms.setHandle(id, vm.handle);
    if (seq !== undefined) context.journal.end(seq);
  });
  if (status !== 'running' && status !== 'paused') context.admission.releaseMemory(id);
}

function messageOf(error: unknown): string {
  if (isAlcoveError(error, 'VmFailed')) {
    const reason = (error.details as { reason?: unknown } | undefined)?.reason;
    if (typeof reason === 'string') return reason;
  }
  return error instanceof Error ? error.message : String(error);
}
