import { SingleFlight } from '../host/index.ts';
import { type CallOptions, flightOptions } from '../vm/index.ts';
import { backUp } from './back-up.ts';
import type { BackupInfo } from './backup/backup-info.ts';
import type { BackupStore } from './backup/backup-store.ts';
import { type SessionsContext, storeOf } from './context.ts';
import { findSession } from './session-records.ts';
import { Turns } from './turns.ts';

interface RunningBackup {
  sessionId: string;
  abort: AbortController;
  done: Promise<unknown>;
}

/** The backups that a pool makes: one after the other, since each has a machine of its own beside the places. */
export class BackupsUnderWay {
  readonly #context: SessionsContext;
  readonly #flights = new SingleFlight<BackupInfo>();
  readonly #turns: Turns;
  /** How many backups of a session have begun to look at it. */
  readonly #begun = new Map<string, number>();
  /** Sessions that are being ended. */
  readonly #ending = new Set<string>();
  #running: RunningBackup | undefined;
  #swept: Promise<void> | undefined;

  constructor(context: SessionsContext) {
    this.#context = context;
    this.#turns = new Turns(context.clock);
  }

  /** Callers that want a backup of the same session get the same one, if it has not begun too early for them. */
  make(id: string, call: CallOptions & { signal: AbortSignal }): Promise<BackupInfo> {
    const number = (this.#begun.get(id) ?? 0) + 1;
    return this.#flights.run(`backup ${number} of session ${id}`, flightOptions(call), async (flight) => {
      flight.report('waiting for another backup');
      using _turn = await this.#turns.take('backup', 'exclusive', { signal: flight.signal });
      // Who asks from now on wants what is done until then, too.
      this.#begun.set(id, number);
      const store = storeOf(this.#context);
      try {
        this.#swept ??= this.#sweep(store); // Not at open: a destination that hangs is nobody's concern yet.
        await this.#swept;
        return await this.#run(id, store, { signal: flight.signal, onProgress: flight.report });
      } finally {
        this.#context.places.reconsider();
      }
    });
  }

  /** No backup of a session that ends comes after its end. */
  async whileEnding(id: string, work: () => Promise<void>): Promise<void> {
    this.#ending.add(id);
    try {
      const { sessionId, abort, done } = this.#running ?? {};
      if (sessionId === id) {
        abort?.abort(new Error(`session ${id} was ended`));
        await done?.catch(() => undefined); // Told to who asked for it.
      }
      await work();
    } finally {
      this.#ending.delete(id);
    }
  }

  async #run(
    id: string,
    store: BackupStore,
    { signal, ...call }: CallOptions & { signal: AbortSignal },
  ): Promise<BackupInfo> {
    const record = findSession(this.#context.records, id);
    if (this.#ending.has(id)) throw this.#context.turns.busy(id);
    const abort = new AbortController();
    const own = { ...call, signal: AbortSignal.any([signal, abort.signal]) };
    const done = backUp(this.#context, store, record, own);
    this.#running = { sessionId: id, abort, done };
    try {
      return await done;
    } finally {
      this.#running = undefined;
    }
  }

  /** What is left there is in nobody's way; whether backups can be made is for them to say. */
  async #sweep(store: BackupStore): Promise<void> {
    try {
      await store.sweep();
    } catch (error) {
      this.#swept = undefined;
      this.#context.warn(`could not remove half-made backups: ${(error as Error).message}`);
    }
  }
}
