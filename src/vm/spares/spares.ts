import type { Spare, SpareKey, SpareMaker } from '../backend.ts';
import { attach, type RuntimeContext } from '../runtime-context.ts';
import type { VmRecord } from '../vm-records.ts';
import { Demand } from './demand.ts';
import { giveUpOne } from './give-up.ts';
import type { HostRoom } from './host-room.ts';
import { isStale, recipeFor } from './recipe.ts';
import { recoverSpares } from './recover-spares.ts';
import { Refill } from './refill.ts';
import type { WarmOptions } from './spare-options.ts';
import { SparePool } from './spare-pool.ts';
import { type Recipe, type SpareRecord, SpareRecords } from './spare-records.ts';
import { Warm } from './warm.ts';

/** A spare that was taken for one start. */
export interface Claim {
  readonly spare: Spare;
  /** Whether a start that came up did so with it. */
  readonly isUsed: boolean;
  /** Makes it durable that it is nobody else's any more; in one transaction with the start's intent. */
  commit(): void;
  /** The start did not come up with it. */
  unusable(error: unknown): void;
  /** Removes what the start has left of it, in the background. */
  settle(): void;
}

/** The spares of one runtime, as its calls use them. */
export class Spares {
  /** What users do with them by hand. */
  readonly warm: Warm;
  readonly #context: RuntimeContext;
  readonly #options: WarmOptions;
  readonly #demand = new Demand();
  readonly #pool: SparePool;
  readonly #refill: Refill;

  constructor(context: RuntimeContext, options: WarmOptions, hostRoom: () => HostRoom) {
    this.#context = context;
    this.#options = options;
    this.#pool = new SparePool(context, new SpareRecords(context.database), (dead, reason) =>
      this.#refill.died(dead, reason),
    );
    const parts = { context, options, hostRoom, pool: this.#pool, demand: this.#demand };
    this.#refill = new Refill(parts);
    this.warm = new Warm(parts, () => this.#refill.wake());
  }

  /** Finds again what an earlier engine left, and keeps what fits the bounds; returns what was mended, in sentences for people. */
  async recover(): Promise<string[]> {
    const mended = await recoverSpares(this.#context, this.#pool);
    for (const waiting of this.#pool.waiting) {
      const { record, spare } = waiting;
      if (await isStale(this.#context, record.recipe)) await this.#pool.giveUp(waiting, 'stale');
      else if (record.origin === 'pool') this.#note(spare.key, record.recipe);
    }
    while (this.#pool.waiting.length > 0 && this.#isOverfull())
      await giveUpOne(this.#pool, this.#demand, 'bounds');
    this.#refill.wake();
    return mended;
  }

  /** To be held while a VM is started: no machine is made meanwhile. */
  startUnderWay(): Disposable {
    return this.#refill.startUnderWay();
  }

  /** Stops making spares of a snapshot or image by itself, so that it can be removed. */
  async letGo(name: string): Promise<void> {
    const { making } = this.#pool;
    if (making?.record.origin === 'pool' && isOf(making.record, name))
      await making.giveUp('what it is of is removed');
  }

  /** Gives up the spares of a snapshot or image that was removed. */
  async forget(name: string): Promise<void> {
    for (const { key, recipe } of this.#demand.all) if (isOf({ recipe }, name)) this.#demand.forget(key);
    const stale = this.#pool.waiting.filter(({ record }) => isOf(record, name));
    await Promise.all(stale.map((waiting) => this.#pool.giveUp(waiting, 'stale')));
  }

  /**
   * Takes memory of the limit for a VM that is about to start, and a spare where one fits. Spares are no reason to refuse a VM:
   * they are given up until there is room.
   *
   * @throws AlcoveError `AtCapacity`
   */
  async roomFor(vm: VmRecord): Promise<Claim | undefined> {
    const claim = await this.#claim(vm);
    try {
      while (!this.#context.admission.takeMemory(vm.id, vm.shape.memoryMiB)) await this.#giveUpForRoom();
      return claim;
    } catch (error) {
      claim?.settle();
      throw error;
    }
  }

  /** Resolves when none is being made or ended. */
  async settled(): Promise<void> {
    await this.#refill.settled();
    await this.#pool.idle();
  }

  /** Makes no more, and lets go of all that wait: those made by hand wait on, the pool's own only when they are to be kept. */
  async close(): Promise<void> {
    await this.#refill.close();
    await this.#pool.idle();
    const { pool, atClose } = this.#options;
    if (pool === 'on' && atClose === 'give-up') {
      for (const waiting of this.#pool.waiting)
        if (waiting.record.origin === 'pool') void this.#pool.giveUp(waiting, 'closed');
      await this.#pool.settled();
    }
    await this.#pool.release();
  }

  #isOverfull(): boolean {
    const { count, memoryMiB } = this.#pool.taken;
    const { max, memoryMiB: maxMiB } = this.#options;
    return count > max || memoryMiB > maxMiB || !this.#context.admission.hasRoomForSpare(0);
  }

  async #giveUpForRoom(): Promise<void> {
    if (await giveUpOne(this.#pool, this.#demand, 'room')) return;
    throw new Error('memory of the limit is held by spares that are not there');
  }

  /** Only a pool that is on remembers: it is what makes them, and gives them up. */
  #note(key: SpareKey, recipe: Recipe): void {
    if (this.#options.pool === 'on') this.#demand.note(key, recipe, this.#context.clock.monotonic());
  }

  async #claim(vm: VmRecord): Promise<Claim | undefined> {
    const maker = this.#context.backends.named(vm.backend).spares;
    if (!maker) return undefined;
    const worthwhile = this.#options.pool === 'on' || this.#pool.waiting.length > 0;
    const keys = worthwhile ? await this.#keysFor(maker, vm) : [];
    for (const key of keys) {
      const recipe = recipeFor(key, vm);
      if (recipe) this.#note(key, recipe);
    }
    const taken = this.#pool.claim(keys);
    if (!taken) {
      this.#pool.stats.misses++;
      return undefined;
    }
    const { spare, record } = taken;
    const use = this.#demand.of(spare.key);
    let useful = true;
    return {
      spare,
      get isUsed() {
        return useful;
      },
      commit: () => this.#pool.records.delete(record.id),
      unusable: (error) => {
        useful = false;
        this.#pool.stats.unusable++;
        const why = `VM ${vm.id} is started without the warm machine ${record.id}, which was of no use: ${(error as Error).message}`;
        if (use) this.#refill.backOff(use, why);
        else this.#context.warn(why);
      },
      settle: () => {
        if (use && useful) use.failures = 0;
        void this.#pool.abandon(taken);
      },
    };
  }

  /** None for a VM that is not found: its start will meet the same and say so. */
  async #keysFor(maker: SpareMaker, vm: VmRecord): Promise<readonly SpareKey[]> {
    try {
      return maker.keysFor((await attach(this.#context, vm)).vm);
    } catch {
      return [];
    }
  }
}

/** Whether it is of that snapshot (by uid) or image (by digest). */
function isOf({ recipe }: Pick<SpareRecord, 'recipe'>, name: string): boolean {
  if (recipe.kind === 'image') return recipe.image.digest === name;
  return recipe.kind === 'memory' && recipe.snapshot.uid === name;
}
