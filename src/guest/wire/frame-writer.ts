import type { Socket } from 'node:net';
import { type FrameType, maxFrameBytes } from '../protocol.ts';
import { frameBytes, writeFrame } from './frame.ts';

/** Small enough that Node takes it from its pool. */
const batchBytes = 2_048;
const noPayload = Buffer.alloc(0);

/** Beyond so many bytes that the kernel did not take yet, data waits; what is small goes on. */
const highWaterBytes = 4 * maxFrameBytes;

/**
 * Sends frames. What is sent in one turn of the event loop leaves in one write; payloads are copied, so the caller
 * may use its buffer again at once.
 */
export class FrameWriter {
  readonly #socket: Socket;
  #batches: Buffer[] = [];
  /** Bytes used of the last batch. */
  #used = 0;
  #unflushedBytes = 0;
  #flushing = false;
  #waiting: (() => void)[] = [];

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('drain', () => this.#wake());
    socket.on('close', () => this.#wake());
  }

  send(type: FrameType, flag: number, stream: number, payload: Uint8Array = noPayload): void {
    const size = frameBytes(payload.length);
    let batch = this.#batches.at(-1);
    if (!batch || batch.length - this.#used < size) {
      if (batch) this.#batches.splice(-1, 1, batch.subarray(0, this.#used));
      batch = Buffer.allocUnsafe(Math.max(size, batchBytes));
      this.#batches.push(batch);
      this.#used = 0;
    }
    this.#used = writeFrame(batch, this.#used, type, flag, stream, payload);
    this.#unflushedBytes += size;
    if (this.#flushing) return;
    this.#flushing = true;
    // After the promise callbacks of this turn: what they send goes along.
    process.nextTick(() => this.#flush());
  }

  /** Sends bytes that are no frame, after what was sent before. */
  sendRaw(bytes: Uint8Array): void {
    this.#flush();
    this.#socket.write(bytes);
  }

  /** Bytes that the kernel did not take yet. */
  get queuedBytes(): number {
    return this.#socket.writableLength + this.#unflushedBytes;
  }

  /** Resolves when there is room for data; at once (`undefined`) when there is now. */
  room(): Promise<void> | undefined {
    if (this.#socket.destroyed || this.queuedBytes < highWaterBytes) return undefined;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #flush(): void {
    this.#flushing = false;
    this.#unflushedBytes = 0;
    const batches = this.#batches;
    this.#batches = [];
    const last = batches.pop();
    if (!last || this.#socket.destroyed) return;
    if (batches.length > 0) this.#socket.cork();
    for (const batch of batches) this.#socket.write(batch);
    this.#socket.write(last.subarray(0, this.#used));
    if (batches.length > 0) this.#socket.uncork();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
