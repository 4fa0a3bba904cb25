import type { GuestNetwork } from '../guest/index.ts';
import type { BackendCallOptions, BackendVm } from './backend.ts';
import { changeStatus, endSilentMachine, onTurn } from './change-status.ts';
import type { Machine } from './machine.ts';
import { type RuntimeContext, requireCapability } from './runtime-context.ts';
import { startMachine } from './spares/index.ts';
import type { VmRecord } from './vm-records.ts';
import { invalidInput } from './vm-spec.ts';

/** How long a guest has to end by itself before it is ended by force, in ms. */
export const defaultGraceMs = 5000;

/** Addresses of user-mode networks; libslirp's own defaults, the same in every VM, since no two share a network. */
const userNetwork: GuestNetwork = { address: '10.0.2.15/24', gateway: '10.0.2.2', dns: ['10.0.2.3'] };

export interface StartOptions extends BackendCallOptions {
  /** Told when it came up with a machine made ahead of need. */
  onWarm?: () => void;
}

export interface StopOptions extends BackendCallOptions {
  /** Keeps its processes for the next start. */
  memory?: true;
  /** @default 5000 */
  graceMs?: number;
}

export async function startVm(context: RuntimeContext, id: string, options: StartOptions): Promise<VmRecord> {
  return onTurn(context, id, 'start', options.signal, async (turn) => {
    const { onWarm, ...call } = options;
    const { shape, machineId } = turn.record;
    const request = { hostname: id, machineId, ...(shape.network === 'user' && { network: userNetwork }) };
    using _start = context.spares.startUnderWay();
    const claim = await context.spares.roomFor(turn.record);
    try {
      const work = (vm: BackendVm, machine: Machine) => startMachine({ vm, machine }, request, claim, call);
      const started = await changeStatus(context, turn, 'start', work, claim);
      if (claim?.isUsed) onWarm?.();
      return started;
    } catch (error) {
      // While an intent is left, nobody knows whether it runs; then it keeps its room until that is found out.
      const { status } = context.vms.find(id) ?? turn.record;
      const inDoubt = context.journal.entriesOf(id).length > 0;
      if (!inDoubt && status !== 'running' && status !== 'paused') context.admission.releaseMemory(id);
      throw error;
    } finally {
      claim?.settle();
    }
  });
}

export async function stopVm(context: RuntimeContext, id: string, options: StopOptions): Promise<VmRecord> {
  const { graceMs = defaultGraceMs, memory, ...rest } = options;
  if (!Number.isFinite(graceMs) || graceMs < 0) throw invalidInput('graceMs', 'must be 0 or more');
  return onTurn(context, id, 'stop', options.signal, async (turn) => {
    if (memory) await requireOf(context, turn.record, 'memorySnapshots');
    else await endSilentMachine(context, turn.record, options.signal);
    return changeStatus(context, turn, 'stop', (vm) => vm.stop({ graceMs, ...(memory && { memory }) }, rest));
  });
}

export async function pauseVm(
  context: RuntimeContext,
  id: string,
  options: BackendCallOptions,
): Promise<VmRecord> {
  return onTurn(context, id, 'pause', options.signal, async (turn) => {
    await requireOf(context, turn.record, 'pause');
    return changeStatus(context, turn, 'pause', async (vm) => vm.pause?.(options));
  });
}

export async function resumeVm(
  context: RuntimeContext,
  id: string,
  options: BackendCallOptions,
): Promise<VmRecord> {
  return onTurn(context, id, 'resume', options.signal, async (turn) => {
    await requireOf(context, turn.record, 'pause');
    return changeStatus(context, turn, 'resume', async (vm) => vm.resume?.(options));
  });
}

async function requireOf(
  context: RuntimeContext,
  record: VmRecord,
  capability: 'pause' | 'memorySnapshots',
): Promise<void> {
  const backend = context.backends.named(record.backend);
  requireCapability(backend, await context.backends.capabilities(backend), capability);
}
