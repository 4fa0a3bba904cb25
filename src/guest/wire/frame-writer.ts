import type { Socket } from 'node:net';
import { BufferPool } from '../buffer-pool.ts';
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
  /** For batches of frames that are not small. */
  readonly #pool = new BufferPool(maxFrameBytes, highWaterBytes / maxFrameBytes);
  #batches: Buffer[] = [];
  /** Bytes used of the last batch, and of those before it. */
  #used = 0;
  #usedOfBatches: number[] = [];
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
      if (batch) this.#usedOfBatches.push(this.#used);
      batch = size <= batchBytes ? Buffer.allocUnsafe(batchBytes) : this.#pool.take(maxFrameBytes);
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
    const used = [...this.#usedOfBatches, this.#used];
    this.#batches = [];
    this.#usedOfBatches = [];
    if (batches.length === 0 || this.#socket.destroyed) return;
    if (batches.length > 1) this.#socket.cork();
    for (const [index, batch] of batches.entries()) this.#write(batch, used[index] ?? 0);
    if (batches.length > 1) this.#socket.uncork();
  }

  #write(batch: Buffer, used: number): void {
    const bytes = batch.subarray(0, used);
    if (batch.length > batchBytes) this.#socket.write(bytes, () => this.#pool.give(batch));
    else this.#socket.write(bytes);
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
