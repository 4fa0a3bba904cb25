import type { VmStatus } from '../../src/vm/index.ts';

/** A call of the model-based test. */
export type ModelCall =
  | { kind: 'create' | 'start' | 'stop' | 'pause' | 'resume' | 'destroy'; vm: string }
  | { kind: 'snapshot'; vm: string; id: string };

/** A fault planned for the next call of a kind on a VM. */
export interface ModelFault {
  vm: string;
  kind: 'create' | 'start' | 'stop' | 'pause' | 'resume' | 'snapshot' | 'destroy';
  place: 'begin' | 'middle' | 'end';
}

/** What a call comes to: `ok`, an error code, or `fault` for a planned one. */
export type Outcome = string;

interface ModelVm {
  status: VmStatus;
  /** What a command in it reads. */
  text: string;
  /** What is left of that when the machine dies. */
  synced: string;
  from: string | undefined;
}

const table: Readonly<Record<VmStatus, Readonly<Record<string, VmStatus>>>> = {
  created: { start: 'running', snapshot: 'created', destroy: 'destroyed' },
  running: { stop: 'stopped', pause: 'paused', snapshot: 'running', destroy: 'destroyed' },
  paused: { stop: 'stopped', resume: 'running', snapshot: 'paused', destroy: 'destroyed' },
  stopped: { start: 'running', snapshot: 'stopped', destroy: 'destroyed' },
  destroyed: {},
};

/** The lifecycle as plain data, without anything that can go wrong by itself. */
export class LifecycleModel {
  readonly vms = new Map<string, ModelVm>();
  /** Snapshot by name: what a VM made from it reads. */
  readonly snapshots = new Map<string, string>();

  copy(): LifecycleModel {
    const copy = new LifecycleModel();
    for (const [id, vm] of this.vms) copy.vms.set(id, { ...vm });
    for (const [ref, snapshot] of this.snapshots) copy.snapshots.set(ref, snapshot);
    return copy;
  }

  /** Plays a call; takes the fault out of the list when it is met. */
  play(call: ModelCall, faults: ModelFault[]): Outcome {
    const vm = this.vms.get(call.vm);
    if (call.kind === 'create') return this.#create(call.vm, vm, faults);
    if (!vm) return 'VmNotFound';
    const to = table[vm.status][call.kind];
    if (to === undefined) return 'InvalidTransition';
    if (call.kind === 'snapshot' && this.snapshots.has(`${call.vm}/${call.id}`))
      return 'SnapshotAlreadyExists';
    const fault = take(faults, call.vm, call.kind);
    if (call.kind === 'snapshot') return this.#snapshot(vm, `${call.vm}/${call.id}`, fault);
    if (fault) return this.#fail(vm, fault);
    if (call.kind === 'stop') vm.synced = vm.text;
    vm.status = to;
    return 'ok';
  }

  write(id: string, text: string): Outcome {
    const vm = this.vms.get(id);
    if (!vm) return 'VmNotFound';
    if (vm.status !== 'running') return 'GuestUnreachable';
    vm.text = text;
    return 'ok';
  }

  restore(ref: string, id: string): Outcome {
    const snapshot = this.snapshots.get(ref);
    if (snapshot === undefined) return 'SnapshotNotFound';
    if (this.vms.has(id)) return 'VmAlreadyExists';
    this.vms.set(id, { status: 'created', text: snapshot, synced: snapshot, from: ref });
    return 'ok';
  }

  removeSnapshot(ref: string): Outcome {
    if (!this.snapshots.has(ref)) return 'SnapshotNotFound';
    for (const vm of this.vms.values())
      if (vm.from === ref && vm.status !== 'destroyed') return 'SnapshotInUse';
    this.snapshots.delete(ref);
    return 'ok';
  }

  die(id: string): void {
    const vm = this.vms.get(id);
    if (vm?.status !== 'running' && vm?.status !== 'paused') return;
    vm.status = 'stopped';
    vm.text = vm.synced;
  }

  /** All that can be seen from outside, to compare. */
  view(): unknown {
    return {
      vms: [...this.vms].map(([id, { status }]) => ({ id, status })).sort((a, b) => (a.id < b.id ? -1 : 1)),
      snapshots: [...this.snapshots.keys()].sort(),
    };
  }

  #create(id: string, vm: ModelVm | undefined, faults: ModelFault[]): Outcome {
    if (vm) return 'VmAlreadyExists';
    if (take(faults, id, 'create')) return 'fault';
    this.vms.set(id, { status: 'created', text: '', synced: '', from: undefined });
    return 'ok';
  }

  #snapshot(vm: ModelVm, ref: string, fault: ModelFault | undefined): Outcome {
    if (fault?.place === 'begin') return 'fault';
    if (vm.status === 'running') vm.synced = vm.text; // Flushed for the capture, also of one that fails.
    if (fault) return 'fault';
    // Of a paused VM the disk has what was synced, and the memory the rest.
    this.snapshots.set(ref, vm.text);
    return 'ok';
  }

  /** A call that failed has left things as they were; only what was ended cannot be brought back. */
  #fail(vm: ModelVm, { kind, place }: ModelFault): Outcome {
    const on = vm.status === 'running' || vm.status === 'paused';
    if (kind === 'stop' && place === 'end') {
      vm.status = 'stopped';
      vm.synced = vm.text;
    } else if (kind === 'destroy' && place !== 'begin' && on) {
      vm.status = 'stopped';
      vm.text = vm.synced;
    }
    return 'fault';
  }
}

function take(faults: ModelFault[], vm: string, kind: string): ModelFault | undefined {
  const place = faults.findIndex((fault) => fault.vm === vm && fault.kind === kind);
  return place < 0 ? undefined : faults.splice(place, 1)[0];
}
