import { AlcoveError, cancelled } from '../../errors.ts';
import type { BackendCallOptions } from '../backend.ts';
import { flightOptions } from '../call-options.ts';
import { type RuntimeContext, requireCapability } from '../runtime-context.ts';
import { findSnapshot } from '../snapshot-source.ts';
import { checkKernelFiles, invalidInput } from '../vm-spec.ts';
import { type Bounds, fitAfterGivingUp, shortfall } from './bounds.ts';
import type { Demand } from './demand.ts';
import { type HostRoom, shortage } from './host-room.ts';
import { makerOf } from './make-spare.ts';
import { type SpareInfo, spareInfo, type WarmSpec, type WarmStats } from './spare-info.ts';
import type { WarmOptions } from './spare-options.ts';
import type { SparePool } from './spare-pool.ts';
import type { Recipe } from './spare-records.ts';
import { type CheckedWarmSpec, checkWarmSpec } from './warm-spec.ts';

export interface WarmParts {
  context: RuntimeContext;
  options: WarmOptions;
  hostRoom: () => HostRoom;
  pool: SparePool;
  demand: Demand;
}

/** What users do with spares by hand. */
export class Warm {
  readonly #parts: WarmParts;
  readonly #changed: () => void;

  /** @param changed called after more wait than before */
  constructor(parts: WarmParts, changed: () => void) {
    this.#parts = parts;
    this.#changed = changed;
  }

  /**
   * Makes machines ahead of need, one after the other. They stay until a start takes one, somebody drops them, or their room is
   * needed. When one cannot be made, those before it stay.
   *
   * @throws AlcoveError `InvalidInput`, `AtCapacity`, `Unsupported`, `ImageNotFound`, `SnapshotNotFound`, `BackendUnavailable`, …
   */
  async fill(spec: WarmSpec, options: BackendCallOptions = {}): Promise<SpareInfo[]> {
    const { context, pool } = this.#parts;
    const checked = checkWarmSpec(spec, context.host, this.#parts.options.max);
    const recipe = await this.#recipe(checked, options);
    this.#requireBounds(checked.count, recipe.shape.memoryMiB);
    const made: SpareInfo[] = [];
    while (made.length < checked.count) {
      const waiting = await pool.inTurn(async () => {
        if (options.signal?.aborted) throw cancelled('making warm machines', options.signal);
        await this.#makeRoom(recipe.shape.memoryMiB);
        return pool.make(recipe, 'hand', options);
      });
      made.push(spareInfo(waiting.record));
      this.#changed();
    }
    return made;
  }

  /** Those that wait, oldest first. */
  list(): SpareInfo[] {
    return this.#parts.pool.waiting.map(({ record }) => spareInfo(record));
  }

  /**
   * Ends those that wait; all of them, or the named ones. None like them is made again until a start asks for it.
   *
   * @throws AlcoveError `SpareNotFound`, then none was ended
   */
  async drop(ids?: readonly string[]): Promise<void> {
    const { pool, demand } = this.#parts;
    const waiting = pool.waiting;
    const chosen = (ids ?? waiting.map(({ record }) => record.id)).map((id) => {
      const found = waiting.find(({ record }) => record.id === id);
      if (!found)
        throw new AlcoveError('SpareNotFound', `there is no warm machine ${id}`, { details: { id } });
      return found;
    });
    const forgotten = ids ? chosen.map(({ spare }) => spare) : demand.all;
    for (const { key } of forgotten) demand.forget(key);
    await Promise.all(chosen.map((one) => pool.giveUp(one, 'dropped')));
    if (!ids && pool.making?.record.origin === 'pool')
      await pool.making.giveUp('the warm machines were dropped');
  }

  stats(): WarmStats {
    const { stats, waiting } = this.#parts.pool;
    return structuredClone({ waiting: waiting.length, ...stats });
  }

  async #recipe(checked: CheckedWarmSpec, options: BackendCallOptions): Promise<Recipe> {
    const { context } = this.#parts;
    if (checked.kind === 'memory') {
      const snapshot = findSnapshot(context, checked.snapshot);
      if (snapshot.manifest.kind !== 'disk+memory')
        throw invalidInput(
          'snapshot',
          `${checked.snapshot} has no memory, so nothing of it can be made ahead`,
        );
      const { backend } = snapshot.manifest;
      makerOf(context, backend);
      await context.backends.capabilities(context.backends.named(backend));
      const { shape } = snapshot.blueprint;
      const ref = `${snapshot.vmId}/${snapshot.id}` as const;
      return { kind: 'memory', backend, shape, snapshot: { uid: snapshot.uid, ref } };
    }
    const { spec } = checked;
    const backend = context.backends.default;
    makerOf(context, backend.name);
    await checkKernelFiles(spec.kernel);
    const capabilities = await context.backends.capabilities(backend);
    if (spec.network === 'user') requireCapability(backend, capabilities, 'userNetwork');
    const flight = flightOptions(options);
    const image = checked.kind === 'image' ? await context.images.resolve(spec.image, flight) : undefined;
    const { cpus, memoryMiB, diskMiB, network, bootArgs } = spec;
    const kernel = await context.kernels.resolve(spec.kernel, flight);
    const base = { backend: backend.name, shape: { cpus, memoryMiB, diskMiB, network, kernel, bootArgs } };
    if (!image) return { ...base, kind: 'shape' };
    return { ...base, kind: 'image', image: { reference: spec.image, digest: image.digest } };
  }

  /** What could not be there with all of the pool's own given up is refused before any is made. */
  #requireBounds(count: number, memoryMiB: number): void {
    const { pool, options } = this.#parts;
    const kept = pool.waiting.filter(({ record }) => record.origin === 'hand');
    const keptMiB = kept.reduce((sum, { record }) => sum + record.recipe.shape.memoryMiB, 0);
    if (kept.length + count > options.max) throw tooMany('warm.max', options.max, count, kept.length);
    if (keptMiB + count * memoryMiB > options.memoryMiB)
      throw tooMany('warm.memoryMiB', options.memoryMiB, count * memoryMiB, keptMiB);
  }

  /** Gives up what the pool made by itself, until one more made by hand fits. To be called in turn. */
  async #makeRoom(memoryMiB: number): Promise<void> {
    const { context, pool, demand, options } = this.#parts;
    await pool.settled();
    const bounds: Bounds = { admission: context.admission, pool, demand, options };
    const victims = fitAfterGivingUp(bounds, memoryMiB, Number.POSITIVE_INFINITY) ?? [];
    await Promise.all(victims.map((victim) => pool.giveUp(victim, 'bounds')));
    const { taken } = pool;
    const short = shortfall(bounds, memoryMiB);
    if (short === 'max') throw tooMany('warm.max', options.max, 1, taken.count);
    if (short === 'memoryMiB') throw tooMany('warm.memoryMiB', options.memoryMiB, memoryMiB, taken.memoryMiB);
    this.#requireHostRoom(memoryMiB);
  }

  #requireHostRoom(memoryMiB: number): void {
    const { options, hostRoom } = this.#parts;
    const room = hostRoom();
    const short = shortage(room, options, memoryMiB);
    if (short === 'host memory')
      throw tooMany('warm.minFreeMemoryMiB', options.minFreeMemoryMiB, memoryMiB, room.memoryMiB);
    if (short === 'host disk') throw tooMany('warm.minFreeDiskMiB', options.minFreeDiskMiB, 0, room.diskMiB);
  }
}

function tooMany(limit: string, max: number, asked: number, taken: number): AlcoveError<'AtCapacity'> {
  const what = limit.startsWith('warm.minFree')
    ? `the host has ${taken} MiB left, and ${max} are to stay free (${limit})`
    : `${asked} more asked for, ${taken} of ${max} are taken (${limit})`;
  return new AlcoveError('AtCapacity', `no room for another warm machine: ${what}`, {
    remedy: 'Drop some with `alcove warm drop`, or raise the limit in the configuration.',
    details: { limit, max, asked, taken },
  });
}
