import { AlcoveError, cancelled } from '../errors.ts';
import type { Clock } from '../host/index.ts';
import { breach } from './failures.ts';
import { type CallSubject, guestError } from './guest-error.ts';
import { type Delivery, Inbound } from './inbound.ts';
import { Outbound } from './outbound.ts';
import { channel, frameType, type Op } from './protocol.ts';
import type { FrameHeader } from './wire/frame.ts';
import type { FrameWriter } from './wire/frame-writer.ts';
import { TlvReader } from './wire/tlv-reader.ts';

/** How long the guest has to confirm that what it was told to give up has ended. */
export const resetWaitMs = 10_000;

export interface CallRequest {
  op: Op;
  payload: Uint8Array;
  subject: CallSubject;
  signal?: AbortSignal | undefined;
  /** Of what comes on the main channel. @default 'prompt' */
  delivery?: Delivery | undefined;
}

type Outcome = { answer: TlvReader } | { error: unknown };

/**
 * One stream: a request under way in the guest, its bytes in and out, and how it ended. The guest has the last word:
 * a call that is given up is over when the guest confirms it, or has had {@link resetWaitMs} to do so.
 */
export class Call implements AsyncDisposable {
  readonly id: number;
  readonly subject: CallSubject;
  /** The answer that the operation is under way. */
  readonly opened: Promise<TlvReader>;
  /** The answer that it ended well. */
  readonly ended: Promise<TlvReader>;
  readonly main: Inbound;
  readonly stderr: Inbound;
  readonly outbound: Outbound;

  readonly #writer: FrameWriter;
  readonly #clock: Clock;
  readonly #opened = Promise.withResolvers<TlvReader>();
  readonly #ended = Promise.withResolvers<TlvReader>();
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.giveUp(cancelled(this.subject.what, this.#signal));
  #over = false;
  #givenUp: { error: unknown; stopWaiting: () => void } | undefined;
  #onOver: (() => void) | undefined;

  constructor(id: number, request: CallRequest, writer: FrameWriter, clock: Clock) {
    this.id = id;
    this.subject = request.subject;
    this.opened = this.#opened.promise;
    this.ended = this.#ended.promise;
    // Whoever cares for only one of the two must not be told of the other as unhandled.
    this.opened.catch(() => {});
    this.ended.catch(() => {});
    this.#writer = writer;
    this.#clock = clock;
    const grant = (flag: number) => (bytes: number) => {
      const payload = Buffer.allocUnsafe(4);
      payload.writeUInt32LE(bytes);
      writer.send(frameType.WINDOW, flag, id, payload);
    };
    this.main = new Inbound('output', grant(channel.MAIN), request.delivery);
    this.stderr = new Inbound('stderr', grant(channel.STDERR));
    this.outbound = new Outbound('input', {
      data: (bytes) => writer.send(frameType.DATA, channel.MAIN, id, bytes),
      eof: () => writer.send(frameType.EOF, channel.MAIN, id),
      room: () => writer.room(),
    });
    this.#signal = request.signal;
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
    writer.send(frameType.OPEN, request.op, id, request.payload);
    this.main.begin();
  }

  /** Whether it has ended, well or badly. */
  get over(): boolean {
    return this.#over;
  }

  /** Calls back once when it is over; one listener at most. */
  onOver(listener: (() => void) | undefined): void {
    this.#onOver = listener;
    if (this.#over) listener?.();
  }

  control(code: number, payload: Uint8Array): void {
    if (!this.#over) this.#writer.send(frameType.CONTROL, code, this.id, payload);
  }

  /** Takes a frame of this stream. Says whether it was the last. @throws AlcoveError `GuestProtocol` */
  onFrame(header: FrameHeader, payload: Uint8Array): 'last' | 'more' {
    // Given up without confirmation: only its end still matters.
    if (this.#over)
      return header.type === frameType.RESULT || header.type === frameType.ERROR ? 'last' : 'more';
    switch (header.type) {
      case frameType.OPENED:
        this.#opened.resolve(new TlvReader(Buffer.from(payload)));
        return 'more';
      case frameType.DATA:
        this.#inbound(header.flag).push(payload);
        return 'more';
      case frameType.EOF:
        this.#inbound(header.flag).eof();
        return 'more';
      case frameType.WINDOW:
        if (payload.length !== 4) throw breach('a grant of credit of the wrong size');
        if (header.flag === channel.MAIN) this.outbound.grant(readU32(payload));
        return 'more';
      case frameType.RESULT:
        this.#answered({ answer: new TlvReader(Buffer.from(payload)) });
        return 'last';
      case frameType.ERROR:
        this.#answered({ error: guestError(new TlvReader(Buffer.from(payload)), this.subject) });
        return 'last';
      default:
        throw breach(`a frame of type ${header.type}, which only the host may send`);
    }
  }

  /**
   * Has the guest end it; what it still sends is dropped. The call rejects with `error` once the guest has confirmed,
   * with `GuestUnreachable` when it does not in time. Resolves then.
   */
  async giveUp(error: unknown): Promise<void> {
    if (!this.#over && !this.#givenUp) {
      const stopWaiting = this.#clock.timer(resetWaitMs, () =>
        this.#finish({ error: this.#unconfirmed(error) }),
      );
      this.#givenUp = { error, stopWaiting };
      this.#writer.send(frameType.RESET, 0, this.id);
      this.main.discard();
      this.stderr.discard();
      this.outbound.close(error);
    }
    await this.ended.catch(() => {}); // How it ended is reported by the call itself.
  }

  /** The channel broke. */
  fail(error: unknown): void {
    this.#finish({ error });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.giveUp(cancelled(this.subject.what));
  }

  #inbound(flag: number): Inbound {
    if (flag === channel.MAIN) return this.main;
    if (flag === channel.STDERR) return this.stderr;
    throw breach(`a frame for channel ${flag}, which does not exist`);
  }

  /** The guest's last word; of a call that was given up it is the confirmation, whatever it says. */
  #answered(outcome: Outcome): void {
    this.#finish(this.#givenUp ? { error: this.#givenUp.error } : outcome);
  }

  #finish(outcome: Outcome): void {
    if (this.#over) return;
    this.#over = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#givenUp?.stopWaiting();
    if ('answer' in outcome) {
      this.main.finish('ended');
      this.stderr.finish('ended');
      this.outbound.close();
      this.#opened.resolve(outcome.answer);
      this.#ended.resolve(outcome.answer);
    } else {
      this.main.finish(outcome);
      this.stderr.finish(outcome);
      this.outbound.close(outcome.error);
      this.#opened.reject(outcome.error);
      this.#ended.reject(outcome.error);
    }
    this.#onOver?.();
  }

  #unconfirmed(error: unknown): AlcoveError<'GuestUnreachable'> {
    const what = `the guest did not confirm within ${resetWaitMs} ms that it ended: ${this.subject.what}`;
    return new AlcoveError('GuestUnreachable', what, { cause: error });
  }
}

function readU32(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
}
