import { AlcoveError } from '../errors.ts';
import { breach } from './failures.ts';
import type { GuestSink } from './guest-channel.ts';
import { maxPayloadBytes, windowBytes } from './protocol.ts';

/** How an {@link Outbound} reaches the wire. */
export interface OutboundWire {
  data(bytes: Uint8Array): void;
  eof(): void;
  /** Resolves when the socket takes more; `undefined` when it does now. */
  room(): Promise<void> | undefined;
}

/** Bytes for the guest on channel 0 of one stream: sent as far as the guest gave credit, then the writer waits. */
export class Outbound implements GuestSink {
  readonly #name: string;
  readonly #wire: OutboundWire;
  #credit = windowBytes;
  #ended = false;
  #closed: { error?: unknown } | undefined;
  #waiting: (() => void) | undefined;
  /** The write under way; the next one waits for it, so that bytes keep their order. */
  #last: Promise<void> = Promise.resolve();

  constructor(name: string, wire: OutboundWire) {
    this.#name = name;
    this.#wire = wire;
  }

  write(chunk: Uint8Array): Promise<void> {
    return this.#inOrder(() => this.#send(chunk));
  }

  end(): Promise<void> {
    return this.#inOrder(async () => {
      if (this.#ended || this.#closed) return;
      this.#ended = true;
      this.#wire.eof();
    });
  }

  /** The guest takes so much more. @throws AlcoveError `GuestProtocol` when it is nonsense */
  grant(bytes: number): void {
    this.#credit += bytes;
    if (this.#credit > Number.MAX_SAFE_INTEGER) throw breach('more credit than can be');
    this.#wake();
  }

  /** The stream is over: writers under way reject, with the stream's own error where it had one. */
  close(error?: unknown): void {
    this.#closed ??= { error };
    this.#wake();
  }

  #inOrder(step: () => Promise<void>): Promise<void> {
    const result = this.#last.then(step);
    this.#last = result.catch(() => {}); // Reported to whoever made that write.
    return result;
  }

  async #send(chunk: Uint8Array): Promise<void> {
    for (let offset = 0; offset < chunk.length; ) {
      if (this.#closed) throw this.#closed.error ?? brokenPipe(this.#name);
      if (this.#ended) throw brokenPipe(this.#name);
      if (this.#credit === 0) {
        await new Promise<void>((resolve) => {
          this.#waiting = resolve;
        });
        continue;
      }
      const room = this.#wire.room();
      if (room) {
        await room;
        continue;
      }
      const part = chunk.subarray(offset, offset + Math.min(this.#credit, maxPayloadBytes));
      this.#wire.data(part);
      this.#credit -= part.length;
      offset += part.length;
    }
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }
}

function brokenPipe(name: string): AlcoveError<'GuestFile'> {
  return new AlcoveError('GuestFile', `nothing in the guest reads ${name} any more`, {
    remedy: 'Stop writing; the result of the call says how it ended.',
    details: { path: name, errno: 'EPIPE' },
  });
}
