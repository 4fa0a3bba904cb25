import { connect, type Socket } from 'node:net';
import { AlcoveError } from '../../errors.ts';
import type { Clock } from '../../host/index.ts';
import { type QmpMessage, QmpReader } from './qmp-messages.ts';

export interface QmpEvent {
  name: string;
  data: Readonly<Record<string, unknown>>;
}

export interface QmpConnectOptions {
  path: string;
  clock: Clock;
  /** Until when the socket must have appeared and QEMU must have answered. */
  timeoutMs: number;
  /** Stops the trying early: the process that should open the socket has died. */
  signal?: AbortSignal;
  onEvent: (event: QmpEvent) => void;
}

/** Between two tries to connect to a socket that is not there yet. */
const retryMs = 2;
/** QEMU answers every command used here at once; one that takes longer is stuck. */
const commandTimeoutMs = 10_000;

/**
 * A monitor connection to one QEMU. Errors: `VmFailed`, with QEMU's own words where it had some. Disposing closes the socket
 * and leaves QEMU alone: it listens on.
 */
export class QmpConnection implements Disposable {
  /** Resolves with the reason once the connection has ended. */
  readonly closed: Promise<Error>;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #onEvent: (event: QmpEvent) => void;
  readonly #reader = new QmpReader();
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #greeted = Promise.withResolvers<void>();
  #close: (reason: Error) => void;
  #lastId = 0;

  private constructor(socket: Socket, clock: Clock, onEvent: (event: QmpEvent) => void) {
    this.#socket = socket;
    this.#clock = clock;
    this.#onEvent = onEvent;
    const closed = Promise.withResolvers<Error>();
    this.closed = closed.promise;
    this.#close = closed.resolve;
    this.#greeted.promise.catch(() => undefined); // Whoever connects looks at it; a later end is told by `closed`.
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end(new Error('the connection ended')));
  }

  /** Connects, retrying until the socket is there, and brings the connection into command mode. */
  static async open(options: QmpConnectOptions): Promise<QmpConnection> {
    const { clock, path } = options;
    const deadline = clock.monotonic() + options.timeoutMs;
    const socket = await connectUntil(options, deadline);
    const connection = new QmpConnection(socket, clock, options.onEvent);
    try {
      const left = Math.max(1, deadline - clock.monotonic());
      await connection.#within(left, 'its greeting', connection.#greeted.promise);
      await connection.execute('qmp_capabilities', {}, Math.max(1, deadline - clock.monotonic()));
      return connection;
    } catch (cause) {
      connection[Symbol.dispose]();
      throw cause instanceof AlcoveError
        ? cause
        : new AlcoveError('VmFailed', `QEMU does not answer on ${path}`, { cause });
    }
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed;
  }

  /** Runs one command. @returns what QEMU returned, unchecked */
  async execute(
    command: string,
    args: Readonly<Record<string, unknown>> = {},
    timeoutMs = commandTimeoutMs,
  ): Promise<unknown> {
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<unknown>();
    this.#waiting.set(id, answer);
    try {
      if (this.#socket.destroyed) throw new AlcoveError('VmFailed', `QEMU is gone: no answer to ${command}`);
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
      return await this.#within(timeoutMs, `an answer to ${command}`, answer.promise);
    } finally {
      this.#waiting.delete(id);
    }
  }

  [Symbol.dispose](): void {
    this.#end(new Error('it was closed here'));
  }

  #receive(chunk: Buffer): void {
    let messages: QmpMessage[];
    try {
      messages = this.#reader.push(chunk);
    } catch (error) {
      this.#end(error as Error);
      return;
    }
    for (const message of messages) this.#dispatch(message);
  }

  #dispatch(message: QmpMessage): void {
    switch (message.kind) {
      case 'greeting':
        this.#greeted.resolve();
        break;
      case 'event':
        this.#onEvent({ name: message.name, data: message.data });
        break;
      case 'reply':
        this.#waiting.get(message.id)?.resolve(message.value);
        break;
      case 'failure':
        this.#waiting
          .get(message.id)
          ?.reject(new AlcoveError('VmFailed', `QEMU refused: ${message.description}`));
        break;
    }
  }

  #end(reason: Error): void {
    this.#socket.destroy();
    const error = new AlcoveError('VmFailed', `QEMU is gone: ${reason.message}`, { cause: reason });
    this.#greeted.reject(error);
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
    this.#close(reason);
  }

  async #within<T>(ms: number, what: string, answer: Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>();
    const stop = this.#clock.timer(ms, () =>
      late.reject(new AlcoveError('VmFailed', `QEMU did not give ${what} within ${Math.round(ms)} ms`)),
    );
    try {
      return await Promise.race([answer, late.promise]);
    } finally {
      stop();
    }
  }
}

async function connectUntil(options: QmpConnectOptions, deadline: number): Promise<Socket> {
  const { clock, path, signal } = options;
  for (;;) {
    try {
      return await connectOnce(path);
    } catch (cause) {
      signal?.throwIfAborted();
      if (clock.monotonic() >= deadline)
        throw new AlcoveError('VmFailed', `QEMU did not open ${path} within ${options.timeoutMs} ms`, {
          cause,
        });
      await clock.sleep(retryMs, signal);
    }
  }
}

function connectOnce(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}
