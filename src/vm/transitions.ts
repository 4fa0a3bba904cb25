import { AlcoveError } from '../errors.ts';
import type { PhysicalState } from './backend.ts';
import type { VmStatus } from './vm.ts';

/** The calls on an existing VM that its status allows or forbids. */
export type VmCall = 'start' | 'stop' | 'pause' | 'resume' | 'snapshot' | 'destroy';

/** The whole table: status a VM has → call → status it has afterwards. What is not here is an `InvalidTransition`. */
export const transitions: Readonly<Record<VmStatus, Readonly<Partial<Record<VmCall, VmStatus>>>>> = {
  created: { start: 'running', snapshot: 'created', destroy: 'destroyed' },
  running: { stop: 'stopped', pause: 'paused', snapshot: 'running', destroy: 'destroyed' },
  paused: { stop: 'stopped', resume: 'running', snapshot: 'paused', destroy: 'destroyed' },
  stopped: { start: 'running', snapshot: 'stopped', destroy: 'destroyed' },
  destroyed: {},
};

/** What each call aims at, as `InvalidTransition` names it in `to`. */
export const aims: Readonly<Record<VmCall, string>> = {
  start: 'running',
  stop: 'stopped',
  pause: 'paused',
  resume: 'running',
  snapshot: 'snapshot',
  destroy: 'destroyed',
};

/**
 * The status after a call on a VM.
 *
 * @throws AlcoveError `VmNotFound` for a VM that does not exist, `InvalidTransition`
 */
export function statusAfter(vmId: string, from: VmStatus | undefined, call: VmCall): VmStatus {
  if (from === undefined) throw vmNotFound(vmId);
  const to = transitions[from][call];
  if (to !== undefined) return to;
  throw new AlcoveError('InvalidTransition', `cannot ${call} VM ${vmId}: it is ${from}`, {
    details: { vmId, from, to: aims[call] },
  });
}

export function vmNotFound(vmId: string): AlcoveError<'VmNotFound'> {
  return new AlcoveError('VmNotFound', `there is no VM ${vmId}`, { details: { vmId } });
}

/** The status that fits what is physically there, given the one the VM had. */
export function statusOf(physical: PhysicalState, before: VmStatus): VmStatus {
  if (physical === 'running' || physical === 'paused') return physical;
  return before === 'created' ? 'created' : 'stopped';
}
