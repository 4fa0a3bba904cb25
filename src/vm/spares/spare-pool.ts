import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AlcoveError } from '../../errors.ts';
import { storageError } from '../../store/index.ts';
import type { BackendCallOptions, Spare, SpareKey, SpareMaker } from '../backend.ts';
import { generateId } from '../ids.ts';
import { removeUnneededSnapshots } from '../remove-snapshot.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import { spareRequest } from './recipe.ts';
import { type GiveUpReason, newStats } from './spare-info.ts';
import type { Recipe, SpareRecord, SpareRecords } from './spare-records.ts';

/** A machine that waits. */
export interface Waiting {
  spare: Spare;
  record: SpareRecord;
  /** When it began to wait, of the monotonic clock. */
  sinceMs: number;
}

/** A machine that is being made. */
export interface Making {
  record: SpareRecord;
  /** Calls it off; resolves when nothing of it is left. */
  giveUp(reason: AlcoveError): Promise<void>;
}

/** The machines that wait: made, given to starts, ended. It decides nothing. */
export class SparePool {
  readonly stats = newStats();
  readonly records: SpareRecords;
  readonly #context: RuntimeContext;
  readonly #waiting = new Map<string, Waiting>();
  readonly #endings = new Set<Promise<void>>();
  readonly #onDeath: (dead: Waiting) => void;
  #making: Making | undefined;
  /** The last of those who make one; each waits for the one before, since making takes the processor from users. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(context: RuntimeContext, records: SpareRecords, onDeath: (dead: Waiting) => void) {
    this.#context = context;
    this.records = records;
    this.#onDeath = onDeath;
  }

  /** Oldest first. */
  get waiting(): Waiting[] {
    return [...this.#waiting.values()];
  }

  get making(): Making | undefined {
    return this.#making;
  }

  /** Whether some are being ended, whose memory will be free then. */
  get ending(): boolean {
    return this.#endings.size > 0;
  }

  /** How many there are, and how much memory they hold, one that is being made included. */
  get taken(): { count: number; memoryMiB: number } {
    const records = [...this.waiting, ...(this.#making ? [this.#making] : [])].map(({ record }) => record);
    return {
      count: records.length,
      memoryMiB: records.reduce((sum, { recipe }) => sum + recipe.shape.memoryMiB, 0),
    };
  }

  /** Runs `work` when no other is being made. */
  async inTurn<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#turn;
    const done = before.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  /**
   * Makes one; it has memory of the limit from now on. To be called in turn.
   *
   * @throws AlcoveError `AtCapacity`, and whatever making it comes to; nothing is left then
   */
  async make(recipe: Recipe, origin: SpareRecord['origin'], options: BackendCallOptions): Promise<Waiting> {
    const { admission, random, clock } = this.#context;
    const record: SpareRecord = {
      id: generateId('spare', random),
      origin,
      recipe,
      createdAtMs: clock.now(),
    };
    admission.takeSpare(record.id, recipe.shape.memoryMiB);
    const givenUp = new AbortController();
    const done = Promise.withResolvers<void>();
    const making: Making = {
      record,
      giveUp: (reason) => {
        givenUp.abort(reason);
        return done.promise;
      },
    };
    this.#making = making;
    const signal = options.signal ? AbortSignal.any([options.signal, givenUp.signal]) : givenUp.signal;
    try {
      const waiting = await this.#make(record, { ...options, signal });
      this.stats.made++;
      return waiting;
    } catch (error) {
      throw givenUp.signal.aborted ? givenUp.signal.reason : error;
    } finally {
      this.#making = undefined;
      done.resolve();
    }
  }

  /** Takes the best that fits: the oldest of the first key of which there is one. It is the caller's, until `end`. */
  claim(keys: readonly SpareKey[]): Waiting | undefined {
    for (const key of keys) {
      const found = this.waiting.find(({ spare }) => spare.key === key);
      if (!found) continue;
      this.#waiting.delete(found.record.id);
      this.#context.admission.releaseSpare(found.record.id);
      this.stats.claims[found.spare.kind]++;
      return found;
    }
    return undefined;
  }

  /** Puts one here that was found or made. */
  adopt(record: SpareRecord, spare: Spare): Waiting {
    const waiting = { record, spare, sinceMs: this.#context.clock.monotonic() };
    this.#waiting.set(record.id, waiting);
    void spare.ended.then(() => {
      if (this.#waiting.get(record.id) !== waiting) return;
      this.#onDeath(waiting);
      void this.giveUp(waiting, 'died');
    });
    return waiting;
  }

  /** Ends one that waits. From this call on no start is given it; its memory is free when this resolves. Never rejects. */
  giveUp(waiting: Waiting, reason: GiveUpReason): Promise<void> {
    if (!this.#waiting.delete(waiting.record.id)) return Promise.resolve();
    this.stats.givenUp[reason]++;
    return this.end(waiting);
  }

  /** Removes what is left of one that is in nobody's hands any more. Never rejects: what stays is found at the next opening. */
  end({ record, spare }: { record: SpareRecord; spare: Spare | undefined }): Promise<void> {
    const ending = this.#remove(record, spare)
      .catch((error: Error) =>
        this.#context.warn(`could not end the warm machine ${record.id}: ${error.message}`),
      )
      .finally(() => {
        this.#context.admission.releaseSpare(record.id);
        this.#endings.delete(ending);
      });
    this.#endings.add(ending);
    return ending;
  }

  /** Resolves when none is being ended any more. */
  async settled(): Promise<void> {
    while (this.#endings.size > 0) await Promise.all(this.#endings);
  }

  /** Resolves when none is being made or ended any more. */
  async idle(): Promise<void> {
    await this.#turn;
    await this.settled();
  }

  /** Lets go of those that wait, without ending them. */
  async release(): Promise<void> {
    const waiting = this.waiting;
    this.#waiting.clear();
    for (const result of await Promise.allSettled(waiting.map(({ spare }) => spare.release())))
      if (result.status === 'rejected')
        this.#context.warn(`could not let go of a warm machine: ${(result.reason as Error).message}`);
  }

  async #make(record: SpareRecord, options: BackendCallOptions): Promise<Waiting> {
    const { places, at } = this.#context;
    const dir = join(places.sparesDir, record.id);
    let spare: Spare | undefined;
    try {
      const maker = makerOf(this.#context, record.recipe.backend);
      {
        using needed = await spareRequest(this.#context, record, dir);
        this.records.insert(record);
        await at('spare.recorded');
        await mkdir(dir, { mode: 0o700 });
        await at('spare.directory');
        spare = await maker.make(needed.request, options);
      }
      // A snapshot that lived only as long as something needed it goes when nothing does any more.
      if (record.recipe.kind === 'memory') await removeUnneededSnapshots(this.#context);
      await at('spare.made');
      options.signal?.throwIfAborted();
      return this.adopt(record, spare);
    } catch (error) {
      await this.end({ record, spare });
      throw storageError(dir, error);
    }
  }

  async #remove({ id }: SpareRecord, spare: Spare | undefined): Promise<void> {
    const { places, at } = this.#context;
    await spare?.dispose();
    await at('spare.ended');
    await rm(join(places.sparesDir, id), { recursive: true, force: true });
    await at('spare.removed');
    this.records.delete(id);
    await at('spare.forgotten');
  }
}

/** @throws AlcoveError `Unsupported`, `BackendUnavailable` */
export function makerOf(context: RuntimeContext, backend: string): SpareMaker {
  const maker = context.backends.named(backend).spares;
  if (maker) return maker;
  throw new AlcoveError('Unsupported', `the ${backend} backend makes no machines ahead of need`, {
    details: { capability: 'spares' },
  });
}
