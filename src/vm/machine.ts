import { AlcoveError } from '../errors.ts';
import type { BackendVm, VmBackend } from './backend.ts';
import { Run } from './run.ts';
import type { VmRecord } from './vm-records.ts';

/** The living side of one VM: the backend's object for it, and who is waiting for it to die. */
export class Machine {
  readonly id: string;
  #vm: BackendVm | undefined;
  #stopListening: (() => void) | undefined;
  #run = new Run();
  readonly #waiting = new Set<PromiseWithResolvers<string>>();
  readonly #onExit: (reason: string) => void;

  constructor(id: string, onExit: (reason: string) => void) {
    this.id = id;
    this.#onExit = onExit;
  }

  get vm(): BackendVm | undefined {
    return this.#vm;
  }

  /** The current run, or the last. */
  get run(): Run {
    return this.#run;
  }

  adopt(vm: BackendVm): BackendVm {
    this.#stopListening?.();
    this.#vm = vm;
    this.#stopListening = vm.onExit((reason) => {
      this.#run.die(reason);
      this.#onExit(reason);
      for (const waiter of this.#waiting) waiter.resolve(reason);
    });
    return vm;
  }

  /** A new run begins; what follows is told of its end, not of the last one's. */
  beginRun(): Run {
    this.#run = new Run();
    return this.#run;
  }

  /** Resolves with the reason of the next unexpected end. */
  async nextDeath(signal: AbortSignal | undefined): Promise<string> {
    const waiter = Promise.withResolvers<string>();
    const giveUp = () =>
      waiter.reject(
        new AlcoveError('Cancelled', `waiting for the end of VM ${this.id} was cancelled`, {
          cause: signal?.reason,
        }),
      );
    if (signal?.aborted) giveUp();
    signal?.addEventListener('abort', giveUp, { once: true });
    this.#waiting.add(waiter);
    try {
      return await waiter.promise;
    } finally {
      this.#waiting.delete(waiter);
      signal?.removeEventListener('abort', giveUp);
    }
  }

  /** Nobody will be told any more: the VM was destroyed, or the engine closes. */
  giveUpWaiting(error: Error): void {
    for (const waiter of this.#waiting) waiter.reject(error);
  }

  /** Lets go of the backend's object, without ending what it stands for. */
  detach(): BackendVm | undefined {
    const vm = this.#vm;
    this.#run.finish();
    this.#stopListening?.();
    this.#stopListening = undefined;
    this.#vm = undefined;
    return vm;
  }
}

/** Every machine that was used since the engine opened. */
export class Machines {
  readonly #machines = new Map<string, Machine>();
  readonly #onExit: (id: string, reason: string) => void;

  constructor(onExit: (id: string, reason: string) => void) {
    this.#onExit = onExit;
  }

  of(id: string): Machine {
    let machine = this.#machines.get(id);
    if (!machine) {
      machine = new Machine(id, (reason) => this.#onExit(id, reason));
      this.#machines.set(id, machine);
    }
    return machine;
  }

  /**
   * The backend's object for a VM. A stopped VM is found again only here, when somebody needs it, so that opening an engine
   * over thousands of them costs nothing.
   */
  async attach(
    record: VmRecord,
    places: { dir: string; backend: VmBackend; rootfsPath: string },
  ): Promise<{ machine: Machine; vm: BackendVm }> {
    const machine = this.of(record.id);
    const vm =
      machine.vm ??
      machine.adopt(
        await places.backend.recover({
          id: record.id,
          dir: places.dir,
          shape: record.shape,
          image: { digest: record.image.digest, rootfsPath: places.rootfsPath },
          handle: record.handle,
        }),
      );
    return { machine, vm };
  }

  /** Forgets a machine that is gone. */
  forget(id: string, error: Error): void {
    const machine = this.#machines.get(id);
    machine?.detach();
    machine?.giveUpWaiting(error);
    this.#machines.delete(id);
  }

  /** Lets go of all, without ending them. Says which could not be let go of. */
  async release(error: Error): Promise<PromiseSettledResult<void>[]> {
    const machines = [...this.#machines.values()];
    this.#machines.clear();
    return Promise.allSettled(
      machines.map(async (machine) => {
        machine.giveUpWaiting(error);
        await machine.detach()?.release();
      }),
    );
  }
}
