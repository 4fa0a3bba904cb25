import { AlcoveError, cancelled, isAlcoveError } from '../errors.ts';
import type { Clock } from '../host/index.ts';
import { Call, type CallRequest } from './call.ts';
import { breach, unreachable } from './failures.ts';
import type { Line } from './line.ts';
import { frameType, maxStreams } from './protocol.ts';
import type { FrameHeader } from './wire/frame.ts';
import type { FrameHandler } from './wire/frame-decoder.ts';
import { FrameWriter } from './wire/frame-writer.ts';
import type { TlvReader } from './wire/tlv-reader.ts';

/** Recognises the answers to the SYNCs of this connection. */
export interface SyncAcks {
  /** Takes the first answer: in step from here on. */
  accept(payload: Uint8Array): 'in-step' | 'hunting';
  /** Whether a further one is an answer to a SYNC of ours. */
  isOurs(payload: Uint8Array): boolean;
}

/** The stream of frames over one socket, and the calls under way on it. Ends once, with a reason. */
export class Connection implements AsyncDisposable {
  /** Resolves with the reason when it has ended. */
  readonly closed: Promise<Error>;
  readonly writer: FrameWriter;
  readonly #clock: Clock;
  readonly #line: Line;
  readonly #handler: FrameHandler;
  readonly #closed = Promise.withResolvers<Error>();
  readonly #calls = new Map<number, Call>();
  #nextId = 1;
  #broken: AlcoveError | undefined;

  constructor(line: Line, acks: SyncAcks, clock: Clock) {
    this.closed = this.#closed.promise;
    this.#clock = clock;
    this.#line = line;
    this.#handler = {
      onSyncAck: (payload) => acks.accept(payload),
      onFrame: (header, payload) => this.#onFrame(header, payload, acks),
    };
    this.writer = new FrameWriter(line.socket);
    line.onRead = (count) => this.#onRead(count);
    line.socket.on('error', (cause) => this.break(unreachable('the connection to the guest failed', cause)));
    line.socket.on('close', () => this.break(unreachable('the guest closed its end of the connection')));
  }

  /**
   * Sends a request.
   *
   * @throws AlcoveError `Cancelled` when its signal has fired already, `AtCapacity`, or what broke the connection
   */
  open(request: CallRequest): Call {
    if (request.signal?.aborted) throw cancelled(request.subject.what, request.signal);
    if (this.#broken) throw this.#broken;
    if (this.#calls.size >= maxStreams) {
      throw new AlcoveError('AtCapacity', `could not ${request.subject.what}: too many calls are under way`, {
        remedy: 'Let some of the calls under way in this guest end first.',
        details: { limit: 'calls in one guest', max: maxStreams, asked: 1, taken: this.#calls.size },
      });
    }
    const call = new Call(this.#nextId++, request, this.writer, this.#clock);
    this.#calls.set(call.id, call);
    return call;
  }

  /** {@link open}, for a request with one answer. */
  async ask(request: CallRequest): Promise<TlvReader> {
    return this.open(request).ended;
  }

  /** Reads an answer. When it is not what it must be, that ends the connection. */
  read<T>(parse: () => T): T {
    try {
      return parse();
    } catch (error) {
      this.blame(error);
      throw error;
    }
  }

  /** Ends the connection when `error` says that the guest broke the protocol. */
  blame(error: unknown): void {
    if (isAlcoveError(error, 'GuestProtocol')) this.break(error);
  }

  /** Ends the connection and everything under way on it; later calls do nothing. */
  break(reason: AlcoveError): void {
    if (this.#broken) return;
    this.#broken = reason;
    this.#line.socket.destroy();
    for (const call of this.#calls.values()) call.fail(reason);
    this.#calls.clear();
    this.#closed.resolve(reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = this.#line.socket.closed
      ? undefined
      : new Promise<void>((resolve) => this.#line.socket.once('close', resolve));
    this.break(unreachable('the connection to the guest was closed on this side'));
    await gone;
  }

  #onRead(count: number): void {
    if (this.#broken) return;
    try {
      this.#line.decoder.commit(count, this.#handler);
    } catch (error) {
      this.break(
        error instanceof AlcoveError
          ? error
          : new AlcoveError('Internal', 'a frame of the guest could not be handled', { cause: error }),
      );
    }
  }

  #onFrame(header: FrameHeader, payload: Uint8Array, acks: SyncAcks): void {
    if (header.type === frameType.SYNC_ACK) {
      // SYNC is sent again while the guest boots, so several answers may come.
      if (header.stream === 0 && acks.isOurs(payload)) return;
      throw breach('an answer to a SYNC that was not sent');
    }
    const call = this.#calls.get(header.stream);
    if (call) {
      if (call.onFrame(header, payload) === 'last') this.#calls.delete(header.stream);
    } else if (header.stream === 0 || header.stream >= this.#nextId) {
      throw breach(`a frame for stream ${header.stream}, which was never opened`);
    }
  }
}
