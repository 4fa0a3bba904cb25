import type { Clock } from '../../host/index.ts';
import type { PipelineEvent, RunPipelineOptions } from './pipeline.ts';

/** An event before it has its number and time. */
export type EventBody = PipelineEvent extends infer E
  ? E extends PipelineEvent
    ? Omit<E, 'seq' | 'timeMs'>
    : never
  : never;

interface Waiting {
  body: EventBody;
  timeMs: number;
  taken: () => void;
}

/** How long after a cancellation a reader may take for one event before it is held for gone. */
const goneAfterMs = 2_000;

/**
 * Hands events to the reader, one at a time. Events get their number when they are handed over, so that there are no gaps whatever
 * becomes of those that wait. Those who write output wait until it is taken: so at most a line of each stream of each running step waits.
 */
export class EventWriter {
  readonly #read: RunPipelineOptions['onEvent'];
  readonly #clock: Clock;
  readonly #onFailure: () => void;
  readonly #waiting: Waiting[] = [];
  /** What the reader has been handed and not taken. */
  #handed: Waiting | undefined;
  #seq = 0;
  #state: 'idle' | 'reading' | 'closed' = 'idle';
  #failure: { error: unknown } | undefined;
  #mayLeave = false;
  #disarm = () => {};
  #drained = Promise.withResolvers<void>();

  /** @param onFailure called once when the reader throws */
  constructor(read: RunPipelineOptions['onEvent'], clock: Clock, onFailure: () => void) {
    this.#read = read;
    this.#clock = clock;
    this.#onFailure = onFailure;
    if (read === undefined) this.#state = 'closed';
  }

  /** What the reader threw. */
  get failure(): { error: unknown } | undefined {
    return this.#failure;
  }

  post(body: EventBody): void {
    this.#add({ body, timeMs: this.#clock.now(), taken: () => {} });
  }

  /** Resolves when the reader has taken it, or takes nothing any more. @throws what the reader threw, at this event or earlier */
  async write(body: EventBody): Promise<void> {
    await new Promise<void>((taken) => this.#add({ body, timeMs: this.#clock.now(), taken }));
    if (this.#failure) throw this.#failure.error;
  }

  /** Says what a step is doing now, in place of what it was doing when the reader has not heard of that yet. */
  postProgress(body: EventBody & { event: 'step-progress' }): void {
    const last = this.#waiting.findLastIndex((waiting) => stepOf(waiting.body) === body.step);
    if (this.#waiting[last]?.body.event === 'step-progress') this.#waiting.splice(last, 1);
    this.post(body);
  }

  /** From now on a reader that takes nothing for {@link goneAfterMs} is told no more. */
  letReaderLeave(): void {
    this.#mayLeave = true;
    if (this.#state === 'reading') this.#arm();
  }

  /** Resolves when nothing waits any more. */
  async drained(): Promise<void> {
    if (this.#state === 'reading') await this.#drained.promise;
  }

  #add(waiting: Waiting): void {
    if (this.#state === 'closed') {
      waiting.taken();
      return;
    }
    this.#waiting.push(waiting);
    if (this.#state === 'reading') return;
    this.#state = 'reading';
    this.#drained = Promise.withResolvers();
    // Later, because the reader may call into what is just being changed, e.g. cancel the run.
    queueMicrotask(() => this.#handOver());
  }

  async #handOver(): Promise<void> {
    for (;;) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      this.#handed = next;
      if (this.#mayLeave) this.#arm();
      try {
        await this.#read?.({ seq: ++this.#seq, timeMs: next.timeMs, ...next.body } as PipelineEvent);
      } catch (error) {
        this.#failure ??= { error };
        this.#close();
        this.#onFailure();
        return;
      }
      next.taken();
      this.#disarm();
    }
    if (this.#state === 'closed') return; // The reader came back after it was held for gone.
    this.#state = 'idle';
    this.#drained.resolve();
  }

  #arm(): void {
    this.#disarm();
    this.#disarm = this.#clock.timer(goneAfterMs, () => this.#close());
  }

  #close(): void {
    this.#disarm();
    this.#state = 'closed';
    this.#handed?.taken();
    for (const { taken } of this.#waiting.splice(0)) taken();
    this.#drained.resolve();
  }
}

function stepOf(body: EventBody): string | undefined {
  return 'step' in body ? body.step : undefined;
}
