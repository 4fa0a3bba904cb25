import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { AlcoveError } from '../../errors.ts';
import { storageError } from '../../store/index.ts';
import type { BackendCallOptions, Spare, SpareKey } from '../backend.ts';
import { generateId } from '../ids.ts';
import { removeUnneededSnapshots } from '../remove-snapshot.ts';
import type { RuntimeContext } from '../runtime-context.ts';
import { makerOf, makeSpare, spareDir } from './make-spare.ts';
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
  /** Calls it off; resolves when nothing of it is left. @param why in words for who asked for it */
  giveUp(why: string): Promise<void>;
}

/** The machines that wait: made, given to starts, ended. It decides nothing. */
export class SparePool {
  readonly stats = newStats();
  readonly records: SpareRecords;
  readonly #context: RuntimeContext;
  readonly #waiting = new Map<string, Waiting>();
  readonly #endings = new Set<Promise<void>>();
  readonly #onDeath: (dead: Waiting, reason: string) => void;
  #making: Making | undefined;
  /** The last of those who make one; each waits for the one before, since making takes the processor from users. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    context: RuntimeContext,
    records: SpareRecords,
    onDeath: (dead: Waiting, reason: string) => void,
  ) {
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
      giveUp: (why) => {
        givenUp.abort(calledOff(why));
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
      if (givenUp.signal.aborted) throw givenUp.signal.reason;
      if (!options.signal?.aborted) this.stats.failed++;
      throw error;
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
    void spare.ended.then((reason) => {
      if (this.#waiting.get(record.id) !== waiting) return;
      void this.giveUp(waiting, 'died');
      this.#onDeath(waiting, reason);
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
    return this.#track(record, async () => {
      await spare?.dispose();
      await this.#remove(record);
    });
  }

  #track(record: SpareRecord, work: () => Promise<void>): Promise<void> {
    const ending = work()
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

  /**
   * Removes what a start has left of one that it was given. When it failed early, the spare is neither the start's nor whole, and
   * is found as after a restart. Never rejects.
   */
  abandon({ record, spare }: Waiting): Promise<void> {
    return this.#track(record, async () => {
      await spare.dispose();
      const dir = spareDir(this.#context, record);
      if (existsSync(dir)) {
        const maker = makerOf(this.#context, record.recipe.backend);
        await (await maker.recover({ id: record.id, dir }))?.dispose();
      }
      await this.#remove(record);
    });
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
    try {
      return this.adopt(record, await makeSpare(this.#context, this.records, record, options));
    } catch (error) {
      await this.end({ record, spare: undefined });
      throw storageError(spareDir(this.#context, record), error);
    } finally {
      // A snapshot that lives only as long as something needs it may have been needed by this alone.
      if (record.recipe.kind === 'memory') await removeUnneededSnapshots(this.#context);
    }
  }

  async #remove(record: SpareRecord): Promise<void> {
    const { at } = this.#context;
    await at('spare.ended');
    await rm(spareDir(this.#context, record), { recursive: true, force: true });
    await at('spare.removed');
    this.records.delete(record.id);
    await at('spare.forgotten');
  }
}

function calledOff(why: string): AlcoveError<'Cancelled'> {
  return new AlcoveError('Cancelled', `a warm machine was called off: ${why}`, {
    remedy: 'Fill again when there is room.',
  });
}
