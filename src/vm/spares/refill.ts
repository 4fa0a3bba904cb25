import { AlcoveError, isAlcoveError } from '../../errors.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import { fitAfterGivingUp } from './bounds.ts';
import type { Demand, InUse } from './demand.ts';
import { giveUpOne } from './give-up.ts';
import { type HostRoom, shortage } from './host-room.ts';
import type { WarmOptions } from './spare-options.ts';
import type { SparePool, Waiting } from './spare-pool.ts';

/** Making a machine takes the processor from users: not before so long after the last start, in ms. */
const quietMs = 250;
/** Where one start follows the other there is no quiet; so long after the need arose it is made in the next gap. */
const longestWaitMs = 2000;
/** How often it is looked whether the host has become short of room, or has room again. */
const checkMs = 5000;
const firstRetryMs = 1000;
const longestRetryMs = 300_000;

export interface RefillParts {
  context: RuntimeContext;
  options: WarmOptions;
  hostRoom: () => HostRoom;
  pool: SparePool;
  demand: Demand;
}

/**
 * Keeps what is in use ahead of need, one at a time and in quiet moments, and gives up what is not, or what the host needs
 * itself. With the pool off it only does the last.
 */
export class Refill {
  readonly #parts: RefillParts;
  readonly #closing = new AbortController();
  #starts = 0;
  #lastStartMs = Number.NEGATIVE_INFINITY;
  /** Since when something has been missing. */
  #missingMs: number | undefined;
  #checkedMs = Number.NEGATIVE_INFINITY;
  /** When it was found that what is missing cannot be made for want of room. */
  #blockedMs = Number.NEGATIVE_INFINITY;
  #cancelTimer: () => void = () => undefined;
  #working: Promise<void> | undefined;
  #complaint = '';

  constructor(parts: RefillParts) {
    this.#parts = parts;
  }

  get #nowMs(): number {
    return this.#parts.context.clock.monotonic();
  }

  /** None is made while a start is under way. */
  startUnderWay(): Disposable {
    this.#starts++;
    return {
      [Symbol.dispose]: () => {
        this.#starts--;
        this.#lastStartMs = this.#nowMs;
        this.wake();
      },
    };
  }

  /** Something has changed: looks again when the next work is due. */
  wake(): void {
    if (this.#working || this.#closing.signal.aborted) return;
    this.#cancelTimer();
    const dueMs = this.#dueMs();
    if (dueMs === undefined) return;
    this.#cancelTimer = this.#parts.context.clock.timer(Math.max(0, dueMs - this.#nowMs), () => {
      this.#working = this.#work().finally(() => {
        this.#working = undefined;
        this.wake();
      });
    });
  }

  /** One that waited has ended by itself. One that comes to that again and again is not made again and again. */
  died({ record, spare, sinceMs }: Waiting, reason: string): void {
    const use = this.#parts.demand.of(spare.key);
    const what = `the warm machine ${record.id} ended by itself: ${reason}`;
    if (use && this.#nowMs - sinceMs < longestRetryMs) this.backOff(use, what);
    else if (record.origin === 'hand') this.#parts.context.warn(what);
    this.wake();
  }

  /** Waits longer from time to time; says why once, until one works again. */
  backOff(use: InUse, why: string): void {
    const waitMs = Math.min(firstRetryMs * 2 ** use.failures, longestRetryMs);
    use.failures++;
    use.retryMs = this.#nowMs + waitMs;
    if (use.failures === 1) this.#parts.context.warn(why);
  }

  /** Resolves when the work that was due is done. */
  async settled(): Promise<void> {
    await this.#working;
  }

  /** Makes no more; one that is being made is called off. */
  async close(): Promise<void> {
    this.#closing.abort(new AlcoveError('Cancelled', 'the engine was closed'));
    this.#cancelTimer();
    await this.#working;
  }

  #dueMs(): number | undefined {
    const { pool, demand, options } = this.#parts;
    const due: number[] = [];
    const [oldest] = demand.all;
    if (oldest) due.push(oldest.askedMs + options.idleMs);
    if (pool.waiting.length > 0) due.push(this.#checkedMs + checkMs);
    const missing = this.#missing();
    if (missing.length === 0) this.#missingMs = undefined;
    else this.#missingMs ??= this.#nowMs;
    if (missing.length > 0 && this.#starts === 0) {
      const retryMs = Math.min(...missing.map((use) => use.retryMs));
      due.push(Math.max(this.#gapMs(), retryMs, this.#blockedMs + checkMs));
    }
    return due.length === 0 ? undefined : Math.min(...due);
  }

  /** When it is quiet enough to make one. */
  #gapMs(): number {
    return Math.min(this.#lastStartMs + quietMs, (this.#missingMs ?? this.#nowMs) + longestWaitMs);
  }

  async #work(): Promise<void> {
    try {
      await this.#giveUpIdle();
      await this.#relieveHost();
      await this.#makeOne();
      this.#complaint = '';
    } catch (error) {
      this.#blockedMs = this.#nowMs; // Not again at once.
      const { message } = error as Error;
      if (message !== this.#complaint) this.#parts.context.warn(`the warm pool: ${message}`);
      this.#complaint = message;
    }
  }

  async #giveUpIdle(): Promise<void> {
    const { pool, demand, options } = this.#parts;
    for (const { key, askedMs } of demand.all) {
      if (askedMs + options.idleMs > this.#nowMs) return;
      demand.forget(key);
      for (const waiting of pool.waiting)
        if (waiting.spare.key === key && waiting.record.origin === 'pool') await pool.giveUp(waiting, 'idle');
    }
  }

  async #relieveHost(): Promise<void> {
    const { pool, demand, options, hostRoom } = this.#parts;
    this.#checkedMs = this.#nowMs;
    while (pool.waiting.length > 0) {
      const short = shortage(hostRoom(), options);
      if (!short) return;
      await giveUpOne(pool, demand, short);
    }
  }

  /** What is in use and not there, the one asked for last first. */
  #missing(): InUse[] {
    const { pool, demand, options } = this.#parts;
    const targets = { image: options.perImage, shape: options.perShape, memory: options.perSnapshot };
    const there = Map.groupBy(pool.waiting, ({ spare }) => spare.key);
    return demand.all
      .filter(({ key, recipe }) => (there.get(key)?.length ?? 0) < targets[recipe.kind])
      .sort((a, b) => b.askedMs - a.askedMs);
  }

  async #makeOne(): Promise<void> {
    const { pool } = this.#parts;
    if (this.#missing().length === 0) return;
    // Whoever fills by hand may take a while; then everything may be different.
    await pool.inTurn(async () => {
      if (this.#closing.signal.aborted || this.#starts > 0 || this.#gapMs() > this.#nowMs) return;
      const missing = this.#missing().filter(({ retryMs }) => retryMs <= this.#nowMs);
      for (const use of missing) {
        if (!(await this.#makeRoom(use))) continue;
        await this.#make(use);
        return;
      }
      if (missing.length > 0) this.#blockedMs = this.#nowMs;
    });
  }

  /** Within the bounds, and at the expense of what was asked for longer ago only. */
  async #makeRoom({ askedMs, recipe }: InUse): Promise<boolean> {
    const { context, pool, demand, options, hostRoom } = this.#parts;
    const { memoryMiB } = recipe.shape;
    if (shortage(hostRoom(), options, memoryMiB)) return false;
    await pool.settled();
    const victims = fitAfterGivingUp(
      { admission: context.admission, pool, demand, options },
      memoryMiB,
      askedMs,
    );
    await Promise.all((victims ?? []).map((victim) => pool.giveUp(victim, 'bounds')));
    return victims !== undefined;
  }

  async #make(use: InUse): Promise<void> {
    const { pool, demand } = this.#parts;
    try {
      const made = await pool.make(use.recipe, 'pool', { signal: this.#closing.signal });
      if (made.spare.key === use.key) return;
      await pool.giveUp(made, 'stale');
      throw new Error(`${made.spare.key} came of what should have been ${use.key}`);
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      if (isAlcoveError(error, 'Cancelled')) return; // It was in somebody's way.
      if (isAlcoveError(error, 'AtCapacity')) this.#blockedMs = this.#nowMs;
      else if (isAlcoveError(error, 'ImageNotFound') || isAlcoveError(error, 'SnapshotNotFound')) {
        demand.forget(use.key);
      } else {
        this.backOff(use, `a warm machine could not be made: ${(error as Error).message}`);
      }
    }
  }
}
