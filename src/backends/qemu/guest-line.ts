import { cancelled } from '../../errors.ts';
import type { GuestChannel } from '../../guest/index.ts';
import type { Clock } from '../../host/index.ts';

/** `connectGuest`, or a stand-in. */
export type GuestConnector = (request: {
  socketPath: string;
  line: 'fresh' | 'stale';
  deadlineMs: number;
  signal?: AbortSignal;
  clock: Clock;
}) => Promise<GuestChannel>;

/** For a running guest that was heard of before to answer again. */
const reconnectMs = 15_000;

/** The one channel to the guest of a running machine, made again when it broke. */
export class GuestLine {
  readonly #socketPath: string;
  readonly #connector: GuestConnector;
  readonly #clock: Clock;
  #channel: Promise<GuestChannel> | undefined;

  constructor(socketPath: string, connector: GuestConnector, clock: Clock) {
    this.#socketPath = socketPath;
    this.#connector = connector;
    this.#clock = clock;
  }

  /** Takes over a channel that is open. */
  adopt(channel: GuestChannel): void {
    const promise = Promise.resolve(channel);
    this.#channel = promise;
    this.#forgetAtEnd(channel, promise);
  }

  /** @throws AlcoveError `GuestUnreachable`, `Cancelled` (which ends the waiting, not a connecting that others wait for) */
  async channel(signal?: AbortSignal): Promise<GuestChannel> {
    this.#channel ??= this.#connect();
    return abandonable(this.#channel, 'reaching the guest', signal);
  }

  async close(): Promise<void> {
    const channel = this.#channel;
    this.#channel = undefined;
    const open = await channel?.catch(() => undefined);
    await open?.[Symbol.asyncDispose]();
  }

  #connect(): Promise<GuestChannel> {
    const connecting = this.#connector({
      socketPath: this.#socketPath,
      line: 'stale',
      deadlineMs: reconnectMs,
      clock: this.#clock,
    });
    connecting.then(
      (channel) => this.#forgetAtEnd(channel, connecting),
      () => this.#forget(connecting),
    );
    return connecting;
  }

  #forgetAtEnd(channel: GuestChannel, promise: Promise<GuestChannel>): void {
    void channel.closed.then(() => this.#forget(promise));
  }

  #forget(promise: Promise<GuestChannel>): void {
    if (this.#channel === promise) this.#channel = undefined;
  }
}

/** Waits for something until the signal fires; the something goes on. */
export async function abandonable<T>(work: Promise<T>, what: string, signal?: AbortSignal): Promise<T> {
  if (!signal) return work;
  if (signal.aborted) throw cancelled(what, signal);
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(cancelled(what, signal));
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
