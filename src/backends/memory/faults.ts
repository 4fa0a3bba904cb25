import { cancelled } from '../../errors.ts';
import type { MemoryCall } from './call-log.ts';

type FaultyCall = Extract<
  MemoryCall,
  | 'create'
  | 'restore'
  | 'recover'
  | 'reap'
  | 'start'
  | 'stop'
  | 'pause'
  | 'resume'
  | 'snapshot'
  | 'destroy'
  | 'make-spare'
  | 'recover-spare'
  | 'take-spare'
  | 'dispose-spare'
>;

/**
 * Where something can go wrong in a call: at its `begin`, before anything physical; in the `middle`, with half of the work
 * done; at its `end`, with all of it done and nobody told yet.
 */
export type MemoryPoint = `${FaultyCall}.${'begin' | 'middle' | 'end'}`;

export interface FaultOptions {
  /** Only in calls on this VM. @default any */
  vm?: string;
  /** How many times it happens. @default 1 */
  times?: number;
}

type Fault =
  | { kind: 'fail'; error: Error }
  | { kind: 'hang'; reached: () => void; released: Promise<void> }
  | { kind: 'lose power' };

/** Faults that are waiting to happen. */
export class Faults {
  readonly #planned: { point: MemoryPoint; vm: string | undefined; left: number; fault: Fault }[] = [];
  readonly #losePower: () => void;

  constructor(losePower: () => void) {
    this.#losePower = losePower;
  }

  plan(point: MemoryPoint, fault: Fault, options: FaultOptions): void {
    this.#planned.push({ point, vm: options.vm, left: options.times ?? 1, fault });
  }

  clear(): void {
    this.#planned.length = 0;
  }

  /** Passes a point of a call, or does not. */
  async pass(point: MemoryPoint, vm: string, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted) throw cancelled(`${point} of VM ${vm}`, signal);
    const planned = this.#planned.find(
      (candidate) => candidate.point === point && candidate.left > 0 && (candidate.vm ?? vm) === vm,
    );
    if (!planned) return;
    planned.left--;
    const { fault } = planned;
    switch (fault.kind) {
      case 'fail':
        throw fault.error;
      case 'hang':
        fault.reached();
        await orCancelled(fault.released, `${point} of VM ${vm}`, signal);
        return;
      case 'lose power':
        this.#losePower();
        await new Promise(() => undefined); // Nobody is there to go on.
    }
  }
}

async function orCancelled(
  work: Promise<void>,
  what: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(cancelled(what, signal));
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    await Promise.race([work, promise]);
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}
