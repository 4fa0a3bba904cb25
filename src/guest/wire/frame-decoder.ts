import { AlcoveError } from '../../errors.ts';
import { frameType, headerBytes, maxFrameBytes } from '../protocol.ts';
import { type FrameHeader, frameBytes, readHeader, trailerMatches } from './frame.ts';

/** Bytes read at once at most, beyond a frame that is not complete. */
const readAhead = 4 * 65_536;

/** What the decoder hands over. Payloads are views that are only good during the call. */
export interface FrameHandler {
  /** While hunting: a whole SYNC_ACK. `in-step` when it answers us; `hunting` to drop it. */
  onSyncAck(payload: Uint8Array): 'in-step' | 'hunting';
  /** In step: a whole frame with a valid check and trailer, of a known type. */
  onFrame(header: FrameHeader, payload: Uint8Array): void;
}

/**
 * Cuts the guest's bytes into frames, in one buffer of fixed size that the socket reads into.
 *
 * It starts hunting: every offset is looked at for a whole SYNC_ACK, and nothing that is not complete holds up the
 * search, for what lies there may be the torso of a frame from before a snapshot. Once the handler says that an ack
 * is the one, it is in step for good.
 */
export class FrameDecoder {
  readonly #buffer = Buffer.allocUnsafeSlow(maxFrameBytes + readAhead);
  #start = 0;
  #end = 0;
  #hunting = true;

  /** Where the next bytes are to be put; never empty. Good until the next {@link commit}. */
  space(): Buffer {
    if (this.#start === this.#end) {
      this.#start = 0;
      this.#end = 0;
    } else if (this.#buffer.length - this.#end < maxFrameBytes) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    return this.#buffer.subarray(this.#end);
  }

  /**
   * Takes in the first `count` bytes of {@link space} and hands over every frame that is whole now.
   *
   * @throws AlcoveError `GuestProtocol` on a bad frame while in step, and what the handler throws
   */
  commit(count: number, handler: FrameHandler): void {
    this.#end += count;
    if (this.#hunting) this.#hunt(handler);
    if (!this.#hunting) this.#cut(handler);
  }

  /** {@link space} and {@link commit} for bytes that lie elsewhere. */
  push(bytes: Uint8Array, handler: FrameHandler): void {
    for (let offset = 0; offset < bytes.length; ) {
      const space = this.space();
      const part = bytes.subarray(offset, offset + space.length);
      space.set(part);
      offset += part.length;
      this.commit(part.length, handler);
    }
  }

  #hunt(handler: FrameHandler): void {
    const buffer = this.#buffer;
    for (let at = this.#start; at + headerBytes <= this.#end; at++) {
      if (buffer[at] !== frameType.SYNC_ACK) continue;
      const header = readHeader(buffer, at);
      if (header?.stream !== 0) continue;
      const next = at + frameBytes(header.length);
      if (next > this.#end || !trailerMatches(buffer, at, header.length)) continue;
      const payload = buffer.subarray(at + headerBytes, at + headerBytes + header.length);
      if (handler.onSyncAck(payload) === 'hunting') continue;
      this.#hunting = false;
      this.#start = next;
      return;
    }
    // No frame is longer than this, so none that can still become whole begins further back.
    this.#start = Math.max(this.#start, this.#end - maxFrameBytes + 1);
  }

  #cut(handler: FrameHandler): void {
    const buffer = this.#buffer;
    while (this.#end - this.#start >= headerBytes) {
      const at = this.#start;
      const header = readHeader(buffer, at);
      if (!header || header.type < frameType.SYNC_ACK || header.type > frameType.ERROR) {
        throw new AlcoveError('GuestProtocol', 'the guest sent a frame with a bad header');
      }
      const next = at + frameBytes(header.length);
      if (next > this.#end) return;
      if (!trailerMatches(buffer, at, header.length)) {
        throw new AlcoveError('GuestProtocol', 'the guest sent a frame with a bad trailer');
      }
      this.#start = next;
      handler.onFrame(header, buffer.subarray(at + headerBytes, next - 4));
    }
  }
}
