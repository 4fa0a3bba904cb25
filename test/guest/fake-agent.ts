import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  frameType,
  headerBytes,
  nonceBytes,
  protocolVersion,
  type Tag,
  tag,
} from '../../src/guest/protocol.ts';
import { encodeFrame, frameBytes, readHeader, trailerMatches } from '../../src/guest/wire/frame.ts';

/** A frame that the fake received. */
export interface ReceivedFrame {
  type: number;
  flag: number;
  stream: number;
  payload: Buffer;
}

/**
 * The other end of the guest channel, as a test wants it to be: it records frames and sends whatever it is told to,
 * right or wrong. Answers SYNC by itself unless `silent`.
 */
export class FakeAgent implements AsyncDisposable {
  readonly socketPath: string;
  readonly frames: ReceivedFrame[] = [];
  /** Bytes that belonged to no frame. */
  strayBytes = 0;
  /** How often a host has connected. */
  connections = 0;
  /** What to do with each SYNC; the default answers it. */
  onSync = (nonce: Buffer): void => this.send(frameType.SYNC_ACK, 0, 0, Buffer.concat([nonce, hello()]));
  /** What to do with each other frame. */
  onFrame: (frame: ReceivedFrame) => void = () => {};

  readonly #dir: string;
  readonly #server: Server;
  #socket: Socket | undefined;
  #buffer: Buffer = Buffer.alloc(0);
  #waiting: (() => void)[] = [];

  constructor() {
    this.#dir = mkdtempSync(join(tmpdir(), 'fake-agent-'));
    this.socketPath = join(this.#dir, 's');
    this.#server = createServer((socket) => {
      this.connections++;
      this.#socket = socket;
      this.#buffer = Buffer.alloc(0);
      socket.on('data', (chunk: Buffer) => this.#take(chunk));
      socket.on('error', () => {}); // The host may hang up at any time.
      this.#wake();
    });
  }

  static async listen(): Promise<FakeAgent> {
    const agent = new FakeAgent();
    await agent.listen();
    return agent;
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(this.socketPath, resolve));
  }

  send(type: number, flag: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): void {
    this.sendRaw(encodeFrame(type, flag, stream, payload));
  }

  sendRaw(bytes: Uint8Array): void {
    this.#socket?.write(bytes);
  }

  hangUp(): void {
    this.#socket?.destroy();
  }

  stopReading(): void {
    this.#socket?.pause();
  }

  goOnReading(): void {
    this.#socket?.resume();
  }

  /** Resolves once `condition` holds; looked at after every frame. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** The first frame that was or will be received of that type, and on that stream when given. */
  async frame(type: number, stream?: number): Promise<ReceivedFrame> {
    const find = () =>
      this.frames.find((f) => f.type === type && (stream === undefined || f.stream === stream));
    await this.until(() => find() !== undefined);
    const found = find();
    if (!found) throw new Error('the frame went away');
    return found;
  }

  /** Bytes of DATA received on a stream. */
  dataBytes(stream: number): number {
    return this.frames
      .filter((f) => f.type === frameType.DATA && f.stream === stream)
      .reduce((sum, f) => sum + f.payload.length, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket?.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#dir, { recursive: true });
  }

  #take(chunk: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    while (this.#buffer.length >= headerBytes) {
      const header = readHeader(this.#buffer, 0);
      if (!header) {
        this.strayBytes++;
        this.#buffer = this.#buffer.subarray(1);
        continue;
      }
      const end = frameBytes(header.length);
      if (this.#buffer.length < end) break;
      if (!trailerMatches(this.#buffer, 0, header.length)) throw new Error('the host sent a bad trailer');
      const payload = Buffer.from(this.#buffer.subarray(headerBytes, end - 4));
      this.#buffer = this.#buffer.subarray(end);
      const frame = { type: header.type, flag: header.flag, stream: header.stream, payload };
      this.frames.push(frame);
      if (frame.type === frameType.SYNC) this.onSync(payload.subarray(0, nonceBytes));
      else this.onFrame(frame);
    }
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

/** TLVs from pairs of tag and value, unchecked. */
export function tlvs(...pairs: [Tag | number, Uint8Array | string][]): Buffer {
  return Buffer.concat(
    pairs.map(([number, value]) => {
      const bytes = Buffer.from(value as Uint8Array);
      const header = Buffer.alloc(6);
      header.writeUInt16LE(number);
      header.writeUInt32LE(bytes.length, 2);
      return Buffer.concat([header, bytes]);
    }),
  );
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

/** What a well-behaved agent says of itself. */
export function hello(protocol: number = protocolVersion): Buffer {
  return tlvs(
    [tag.PROTOCOL, u32(protocol)],
    [tag.VERSION, '0.1.0'],
    [tag.BOOT_ID, '0123456789abcdef0123456789abcdef'],
    [tag.READY, Buffer.of(1)],
    [tag.KERNEL, '6.1.0'],
  );
}
