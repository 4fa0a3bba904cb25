import type { Spare, SpareKey, SpareMaker } from '../backend.ts';
import { attach, type RuntimeContext } from '../runtime-context.ts';
import type { VmRecord } from '../vm-records.ts';
import { Demand } from './demand.ts';
import { giveUpOne } from './give-up.ts';
import type { HostRoom } from './host-room.ts';
import { recoverSpares } from './recover-spares.ts';
import type { WarmOptions } from './spare-options.ts';
import { SparePool } from './spare-pool.ts';
import { SpareRecords } from './spare-records.ts';
import { Warm } from './warm.ts';

/** A spare that was taken for one start. */
export interface Claim {
  readonly spare: Spare;
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
  readonly #demand = new Demand();
  readonly #pool: SparePool;

  constructor(context: RuntimeContext, options: WarmOptions, hostRoom: () => HostRoom) {
    this.#context = context;
    this.#pool = new SparePool(context, new SpareRecords(context.database), () => undefined);
    this.warm = new Warm({ context, options, hostRoom, pool: this.#pool, demand: this.#demand });
  }

  /** Finds again what an earlier engine left; returns what was mended, in sentences for people. */
  async recover(): Promise<string[]> {
    return recoverSpares(this.#context, this.#pool);
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
      while (!this.#context.admission.takeMemory(vm.id, vm.shape.memoryMiB))
        await giveUpOne(this.#pool, this.#demand, 'room');
      return claim;
    } catch (error) {
      claim?.settle();
      throw error;
    }
  }

  /** Lets go of all that wait; they wait on. */
  async close(): Promise<void> {
    await this.#pool.idle();
    await this.#pool.release();
  }

  async #claim(vm: VmRecord): Promise<Claim | undefined> {
    const maker = this.#context.backends.named(vm.backend).spares;
    if (!maker) return undefined;
    const keys = this.#pool.waiting.length > 0 ? await this.#keysFor(maker, vm) : [];
    this.#demand.note(keys, this.#context.clock.monotonic());
    const taken = this.#pool.claim(keys);
    if (!taken) {
      this.#pool.stats.misses++;
      return undefined;
    }
    const { spare, record } = taken;
    return {
      spare,
      commit: () => this.#pool.records.delete(record.id),
      unusable: (error) => {
        this.#pool.stats.unusable++;
        this.#context.warn(
          `VM ${vm.id} is started without the warm machine ${record.id}, which was of no use: ${(error as Error).message}`,
        );
      },
      settle: () => void this.#pool.end(taken),
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
