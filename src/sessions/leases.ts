import { isAlcoveError } from '../errors.ts';
import type { CallOptions } from '../vm/index.ts';
import type { SessionsContext } from './context.ts';
import type { Lease } from './lease.ts';
import { LeaseHandle } from './lease-handle.ts';
import { makeReady, type Readiness } from './ready.ts';
import { type Turn, Turns } from './turns.ts';

/** Until when to wait, on the monotonic clock; without, as long as it takes for the session's turn, and for a place not at all. */
export interface Patience {
  untilMs: number | undefined;
}

type Call = CallOptions & { signal: AbortSignal } & Patience;

/** The leases of one pool. */
export class Leases {
  readonly #context: SessionsContext;
  readonly #held = new Map<string, Set<Lease>>();
  /** Callers with shared leases make a session ready one after the other; all but the first find it so. */
  readonly #readying: Turns;
  readonly #making = new Map<string, number>();

  constructor(context: SessionsContext) {
    this.#context = context;
    this.#readying = new Turns(context.clock);
  }

  /** Sessions that are being made ready from nothing or from a backup, and since when. */
  get making(): ReadonlyMap<string, number> {
    return this.#making;
  }

  /** Whether somebody makes it ready now. */
  isReadying(sessionId: string): boolean {
    return this.#readying.isTaken(sessionId);
  }

  /** Of a session, or in all. */
  count(sessionId?: string): number {
    if (sessionId !== undefined) return this.#held.get(sessionId)?.size ?? 0;
    return [...this.#held.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** Makes the session ready. The lease has the caller's turn from then on; when there is none, the turn is given back. */
  async grant(id: string, mode: Lease['mode'], turn: Turn, call: Call): Promise<Lease> {
    const { clock, metrics, places } = this.#context;
    const beganMs = clock.monotonic();
    try {
      const { vmId, was } = await this.#ready(id, call);
      const lease = this.#lease(id, vmId, mode, turn);
      metrics.counts.acquires++;
      metrics.took(was, clock.monotonic() - beganMs);
      return lease;
    } catch (error) {
      if (isAlcoveError(error, 'AtCapacity')) metrics.counts.atCapacity++;
      turn.release();
      places.reconsider();
      throw error;
    }
  }

  /** They are over. */
  async releaseAll(): Promise<void> {
    const leases = [...this.#held.values()].flatMap((held) => [...held]);
    await Promise.allSettled(leases.map((lease) => lease.release()));
  }

  #lease(id: string, vmId: string, mode: Lease['mode'], turn: Turn): Lease {
    const { options, places, runtime } = this.#context;
    const held = this.#held.get(id) ?? new Set();
    this.#held.set(id, held);
    const giveBack = () => {
      held.delete(lease);
      if (held.size === 0) this.#held.delete(id);
      this.#used(id);
      turn.release();
      places.reconsider();
    };
    const lease = new LeaseHandle({ runtime, sessionId: id, vmId, mode, options, giveBack });
    held.add(lease);
    this.#used(id); // Should the engine die, it is not taken for idle since its last lease.
    return lease;
  }

  /** As patient as its caller is, also where another one of the session is at it. */
  async #ready(id: string, { untilMs, ...call }: Call): Promise<Readiness> {
    const { clock, records } = this.#context;
    const leftMs = () => (untilMs === undefined ? undefined : Math.max(0, untilMs - clock.monotonic()));
    using _turn = await this.#readying.take(id, 'exclusive', { signal: call.signal, waitMs: leftMs() });
    if (records.find(id)?.phase !== 'here') this.#making.set(id, clock.now());
    try {
      return await makeReady(this.#context, id, { ...call, waitMs: leftMs() ?? 0 });
    } finally {
      this.#making.delete(id);
    }
  }

  /** It is used now. That this could not be recorded is no reason to keep a lease. */
  #used(id: string): void {
    const { clock, idle, records, warn } = this.#context;
    idle.start(id);
    try {
      records.touch(id, clock.now());
    } catch (error) {
      warn(`when session ${id} was used could not be recorded: ${(error as Error).message}`);
    }
  }
}
